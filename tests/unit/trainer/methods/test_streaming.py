"""Rows that are read while training: the same as from a table, endless, and resumed where they were left."""

from typing import Any

import pytest

from tunesmith_trainer.errors import DataError

ROWS = [{"prompt": f"{a}+{b}=", "completion": f" {a + b}"} for a in range(7) for b in range(3)]


def build(lab: Any, base: Any, name: str = "job", **more: Any) -> Any:
    training = {"maxLength": 64, "maxSteps": 8, "loggingSteps": 1, "learningRate": 1e-2, "perDeviceTrainBatchSize": 4}
    spec = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": training | more.pop("training", {}),
        "dataProcessing": {"streaming": True} | more.pop("processing", {}),
    } | more
    return lab.build(lab.context(name, spec, base))


def losses(plan: Any) -> dict[int, float]:
    return {entry["step"]: entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry}


def test_a_stream_gives_what_a_table_holds(lab: Any, base: Any) -> None:
    import itertools

    streamed = build(lab, base, processing={"shuffleBufferSize": 1}).trainer.train_dataset
    table = build(lab, base, processing={"streaming": False}).trainer.train_dataset
    assert list(itertools.islice(streamed, len(ROWS))) == list(table)
    twice = list(itertools.islice(streamed, 2 * len(ROWS)))
    assert twice[len(ROWS) :] == list(table), "it begins again where it ends"


def test_a_stream_is_shuffled_by_the_seed(lab: Any, base: Any) -> None:
    import itertools

    first = {
        seed: list(itertools.islice(build(lab, base, training={"seed": seed}).trainer.train_dataset, 12))
        for seed in (1, 2)
    }
    again = list(itertools.islice(build(lab, base, training={"seed": 1}).trainer.train_dataset, 12))
    assert first[1] == again != first[2]


def test_a_streamed_run_learns_and_tells_what_it_read(lab: Any, base: Any) -> None:
    plan = build(lab, base, training={"maxSteps": 20})
    plan.trainer.train()
    assert losses(plan)[20] < losses(plan)[1] - 0.5
    report = plan.data_report["train"]
    assert report["rows"] == report["used"] == len(ROWS)
    assert report["tokenLength"]["max"] < 64
    assert "readAgain" not in report


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        pytest.param({"sft": {"packing": True}}, marks=pytest.mark.slow),
        pytest.param({"processing": {"shuffleBufferSize": 1}}, marks=pytest.mark.slow),
    ],
    ids=["shuffled", "packed", "in order"],
)
def test_a_stream_resumes_exactly(lab: Any, base: Any, more: Any) -> None:
    """Also past the end of the first pass: there are 21 rows and 32 are read."""
    from transformers import TrainerCallback

    class StopAfterFive(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = control.should_save = state.global_step == 5

    unbroken = build(lab, base, "unbroken", **dict(more))
    unbroken.trainer.train()
    first = build(lab, base, "broken", **dict(more))
    first.trainer.add_callback(StopAfterFive())
    first.trainer.train()
    second = build(lab, base, "broken", **dict(more))
    second.trainer.train(resume_from_checkpoint=f"{second.trainer.args.output_dir}/checkpoint-5")
    assert losses(first) | losses(second) == pytest.approx(losses(unbroken), abs=1e-6)
    assert second.data_report["train"]["readAgain"]["steps"] == 5
    assert second.data_report["train"]["readAgain"]["seconds"] >= 0


def test_every_pass_has_each_row_once_in_another_order(lab: Any, base: Any) -> None:
    import itertools

    stream = iter(build(lab, base, processing={"shuffleBufferSize": 5}).trainer.train_dataset)
    passes = [[tuple(row["input_ids"]) for row in itertools.islice(stream, len(ROWS))] for _ in range(2)]
    assert set(passes[0]) == set(passes[1])
    assert len(set(passes[0])) == len(ROWS)
    assert passes[0] != passes[1]


def test_windows_are_streamed(lab: Any, base: Any) -> None:
    import itertools

    text = "\n\n".join(f"Text {number} tells of the number {number}." for number in range(40))

    def rows(*, streaming: bool) -> Any:
        spec = {
            "method": "pretrain",
            "model": {"fromJob": {"name": "base"}},
            "datasets": [lab.put("texts.txt", text)],
            "training": {"maxLength": 64, "maxSteps": 2},
            "dataProcessing": {"streaming": streaming} | ({"shuffleBufferSize": 1} if streaming else {}),
        }
        return lab.build(lab.context("windows", spec, base)).trainer.train_dataset

    table = rows(streaming=False)
    assert list(itertools.islice(rows(streaming=True), len(table))) == list(table)


def test_a_stream_without_a_token_to_learn_ends(lab: Any, base: Any) -> None:
    rows = [{"prompt": "long " * 60, "completion": "x"}]
    with pytest.raises(DataError, match="none of the 1 rows to train on has a token to learn"):
        build(lab, base, datasets=[lab.put("lost.jsonl", rows)], training={"maxLength": 16}).trainer.train()
