"""What alignments tell, from their outcome to the report page: real runs on a tiny model."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from pages import Page

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.figures import ranked
from tunesmith_api.progress import Outcome
from tunesmith_trainer.ending import read_lines

PAIRS = [
    {"prompt": f"{a}+{b}=", "chosen": f" {a + b}", "rejected": f" {a - b - 7}"} for a in range(8) for b in range(4)
]
TRAINING = {"maxLength": 48, "maxSteps": 4, "loggingSteps": 1, "learningRate": 1e-2, "perDeviceTrainBatchSize": 8}

pytestmark = pytest.mark.slow


@pytest.fixture
def run(lab: Any, base: Any, attempt: Any) -> Any:
    """Runs an alignment of a new adapter as a pod does; returns how it ended and the folder of its output."""

    def run(*, rows: str = "auto", **spec: Any) -> tuple[Outcome, Path]:
        whole = {
            "model": {"fromJob": {"name": "base"}},
            "peft": {"lora": {"r": 4}},
            "datasets": [lab.put("rows.jsonl", PAIRS) | {"format": rows}],
            "training": TRAINING,
            **spec,
        }
        context = lab.context("aligned", whole, base)
        outcome = attempt(context)
        assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
        return outcome, context.run_directory / "output"

    return run


def test_preferences_are_told_from_the_first_step_to_the_page(run: Any) -> None:
    outcome, output = run(method="dpo", evaluation={"splitRatio": 0.75})
    watched = ["loss", "eval_loss", "initial_eval_loss", "rewards/accuracies", "eval_rewards/accuracies"]
    assert list(outcome.metrics)[:5] == watched == ranked(watched)
    assert {"initial_eval_rewards/accuracies", "rewards/margins", "logps/chosen"} <= outcome.metrics.keys()
    history = read_lines(output / "metrics.jsonl")
    assert [entry["step"] for entry in history if "rewards/margins" in entry] == [1, 2, 3, 4]
    page = Page((output / "report.html").read_text(encoding="utf-8"))
    for told in ("Held-out pairs told apart", "Margin of chosen over rejected", "Rewards of the answers", "answers"):
        assert told in page.text
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "arxiv.org/abs/2305.18290" in card
    results = {result.metric_type: result.metric_value for result in ModelCard(card).data.eval_results}
    assert results["accuracy"] == pytest.approx(outcome.metrics["eval_rewards/accuracies"], abs=1e-6)


def test_what_was_sampled_is_in_the_output_and_on_the_page(run: Any) -> None:
    rewards = [{"name": "short", "length": {"max": 6}}, {"name": "digit", "regex": {"pattern": "[0-9]"}}]
    outcome, output = run(
        method="grpo",
        rows="prompt",
        rewards=rewards,
        grpo={"numGenerations": 4, "maxCompletionLength": 8, "beta": 0.04},
        reporting={"completions": {"everySteps": 2, "rows": 4}},
    )
    assert next(iter(outcome.metrics)) == "reward"
    assert {"kl", "entropy", "rewards/short/mean", "completions/mean_length"} <= outcome.metrics.keys()
    rows = read_lines(output / "completions.jsonl")
    assert sorted({row["step"] for row in rows}) == [1, 2, 4]
    page = Page((output / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert "promptcompletionshortdigitrewardadvantage" in page.text, "the heads of the columns"
    assert "Length, tokens" in page.text
    assert "Training loss" not in page.text
