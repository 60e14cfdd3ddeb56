"""Best of N: of several completions of a prompt the one with the largest weighted sum is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith_trainer.generate.best_of import Asked, Written, best_of
from tunesmith_trainer.generate.command import main
from tunesmith_trainer.generation import complete
from tunesmith_trainer.rewards import Rewards


def written(*texts: str) -> list[Written]:
    return [Written(text, [1] * len(text)) for text in texts]


def test_the_largest_sum_is_kept_and_an_unknown_one_never(make: Callable[..., Rewards]) -> None:
    rewards = make(
        {"name": "right", "answer": {}, "weight": 2},
        {"name": "short", "length": {"max": 3, "margin": 2}},
    )
    asked = [
        Asked({"prompt": "2+2", "answer": 4, "completion": "old"}, "2+2"),
        Asked({"prompt": "?", "id": 7, "answer": "none"}, [{"role": "user", "content": "?"}]),
    ]
    results = list(best_of(rewards, asked, [written("5", "it is 4", "it 4", "44"), written("abcdef", "abcd", "ab")]))
    assert results == [
        {"completion": "it 4", "reward": 2.5, "rewards": {"right": 1, "short": 0.5}},
        {"completion": "ab", "reward": 1, "rewards": {"right": None, "short": 1}},
    ]
    unknown = make({"name": "right", "answer": {}})
    assert list(best_of(unknown, asked[1:], [written("a", "b")])) == [
        {"completion": "a", "reward": None, "rewards": {"right": None}}
    ]


def test_rewards_see_the_columns_that_they_see_in_training(make: Callable[..., Rewards]) -> None:
    """The right answer may be in a column of this name; what a reward is called with is no column."""
    rewards = make({"name": "right", "answer": {"column": "completion"}}, {"name": "sure", "answer": {"column": "no"}})
    asked = [Asked({"prompt": "2+2", "completion": 4, "log_metric": "x"}, "2+2")]
    (result,) = best_of(rewards, asked, [written("5", "it is 4")])
    assert result == {"completion": "it is 4", "reward": 1, "rewards": {"right": 1, "sure": None}}


def run(folder: Path, model: Path, rewards: Any, *options: str) -> list[dict[str, Any]]:
    """Return what the command writes, of two prompts with four completions each."""
    (folder / "prompts.jsonl").write_text('{"prompt": "The"}\n{"messages": [{"role": "user", "content": "Why?"}]}\n')
    (folder / "rewards.yaml").write_text(yaml.safe_dump(rewards))
    files = ["--input", str(folder / "prompts.jsonl"), "--output", str(folder / "out.jsonl")]
    drawn = ["--best-of", "4", "--temperature", "2", "--max-new-tokens", "12"]
    scored = ["--rewards", str(folder / "rewards.yaml"), *options]
    assert main(["--model", str(model), "--raw", *files, *drawn, *scored]) == 0
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_the_command_keeps_the_best_of_what_it_draws(lab: Any, model_folder: Path) -> None:
    long = {"name": "long", "length": {"min": 500, "margin": 500, "unit": "characters"}}
    best = run(lab.root, model_folder, [long])
    # The same seed draws the same completions; the smallest reward is the best penalty.
    record = {"run": {"spec": {"rewards": [long | {"weight": -1}]}}}
    worst = run(lab.root, model_folder, record)
    for good, bad in zip(best, worst, strict=True):
        assert good["reward"] == good["rewards"]["long"] == pytest.approx(len(good["completion"]) / 500)
        assert good["reward"] > -bad["reward"] == bad["rewards"]["long"]
    assert [row.get("prompt") for row in best] == ["The", None]


def test_no_more_are_made_at_a_time_than_allowed(lab: Any, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(model: Any, tokenizer: Any, prompts: Any, sampling: Any) -> Any:
        made.append(len(prompts))
        return complete(model, tokenizer, prompts, sampling)

    monkeypatch.setattr("tunesmith_trainer.generate.command.complete", counted)
    run(lab.root, model_folder, [{"name": "short", "length": {"max": 9}}], "--batch-size", "3")
    assert made == [3, 1, 3, 1]


def test_a_reward_model_says_what_is_best(lab: Any, model_folder: Path, judge: Path) -> None:
    (row, _) = run(lab.root, model_folder, [], "--reward-model", str(judge))
    assert row["reward"] == row["rewards"]["model"] != 0


@pytest.mark.parametrize(
    ("rewards", "options", "says"),
    [
        ([{"name": "a"}], (), "--rewards: [0]: set exactly one of model, regex"),
        ([{"name": "a", "regex": {}}], (), "does not list rewards as a spec does: 0.regex.pattern: Field required"),
        ("words", (), "does not list rewards as a spec does"),
        ([{"name": "a", "model": {"name": "x/y"}}], (), "a is a model; name its folder with --reward-model"),
        ([], ("--reward-model", "{root}/none"), "--reward-model: the folder {root}/none does not exist"),
        ([], ("--reward-model", "{model}"), "the reward model {model} is a language model without a score head"),
        ([], ("--rewards", "{root}/none.yaml"), "--rewards: {root}/none.yaml can not be read"),
    ],
)
def test_what_can_not_be_scored_by_is_told_before_anything_is_written(
    lab: Any, model_folder: Path, capsys: pytest.CaptureFixture[str], rewards: Any, options: tuple[str, ...], says: str
) -> None:
    places = {"root": lab.root, "model": model_folder}
    with pytest.raises(AssertionError):
        run(lab.root, model_folder, rewards, *(option.format(**places) for option in options))
    assert says.format(**places) in capsys.readouterr().err
    assert not (lab.root / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--input", "x", "--best-of", "4"], "--best-of needs --rewards or --reward-model"),
        (["--rewards", "x"], "--rewards and --reward-model need --input"),
        (["--input", "x", "--rewards", "y", "--best-of", "2", "--temperature", "0"], "a --temperature above 0"),
        (["--input", "x", "--rewards", "y", "--best-of", "0"], "0 is not between 1 and 1024"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model", "m", *arguments])
    assert says in capsys.readouterr().err
