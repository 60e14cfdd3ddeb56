"""A run that was stopped and went on is the run that was never stopped."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun

MakeRun = Callable[..., FrozenRun]
STEPS = 8


EVALUATIONS: dict[str, Any] = {"training": {"evalStrategy": "steps", "evalSteps": 2}, "evaluation": {"splitRatio": 0.8}}
# Each a spec in which resuming has its own pitfalls, and after which look for the order to stop it comes.
PITFALLS: dict[str, tuple[dict[str, Any], int]] = {
    "in an epoch": ({}, 3),
    "in a later epoch": ({"training": {"perDeviceTrainBatchSize": 32}}, 5),
    "with accumulation": ({"training": {"gradientAccumulationSteps": 3, "perDeviceTrainBatchSize": 2}}, 5),
    "between two logs": ({"training": {"loggingSteps": 4}}, 5),
    "in an evaluation": (EVALUATIONS, 3),
    "after an evaluation": (EVALUATIONS, 4 + 2),
    "in a stream": ({"dataProcessing": {"streaming": True, "shuffleBufferSize": 7}}, 3),
}


QUICK = ("in an epoch", "in an evaluation")


@pytest.mark.parametrize(
    "pitfall", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in PITFALLS if name not in QUICK)]
)
def test_the_loss_curve_is_that_of_an_undisturbed_run(pods: Any, work: Any, make_run: MakeRun, pitfall: str) -> None:
    training, stop_after = PITFALLS[pitfall]
    whole, halved = make_run(uid="whole", **training), make_run(uid="halved", **training)
    pods.write(whole)
    assert work(whole).exit_code == ExitCode.SUCCESS
    pods.write(halved)
    stopped = work(halved, stop_after=stop_after)
    assert stopped.exit_code == ExitCode.TERMINATED, stopped.message
    assert 0 < stopped.last_step < STEPS
    assert stopped.checkpoint_steps[-1] == stopped.last_step
    resumed = work(halved, attempt=2)
    assert resumed.exit_code == ExitCode.SUCCESS, resumed.message
    assert resumed.resumed_from_step == stopped.last_step
    expected, losses = work.losses(whole), work.losses(halved)
    assert losses.keys() == expected.keys()
    assert losses == pytest.approx(expected, abs=1e-6)
    assert resumed.metrics["loss"] == pytest.approx(expected[STEPS], abs=1e-6)


def test_a_stop_in_an_evaluation_that_is_made_up_for_leaves_the_checkpoint_as_it_is(
    pods: Any, work: Any, make_run: MakeRun
) -> None:
    run = make_run(**EVALUATIONS)
    pods.write(run)
    stopped = work(run, stop_after=3)
    assert (stopped.exit_code, stopped.last_step) == (ExitCode.TERMINATED, 2)
    folder = work.folder(run) / "checkpoints/step-00000002"
    before = (folder / "manifest.json").read_bytes()
    again = work(run, attempt=2, stop_after=1)
    assert (again.exit_code, again.last_step, again.checkpoint_steps) == (ExitCode.TERMINATED, 2, (2,))
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_the_evaluation_before_the_first_step_is_measured_once(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(evaluation={"splitRatio": 0.8})
    pods.write(run)
    first = work(run, stop_after=3)
    second = work(run, attempt=2)
    assert second.metrics["initial_eval_loss"] == first.metrics["initial_eval_loss"]
    assert second.metrics["eval_loss"] < second.metrics["initial_eval_loss"]
    record = work.record(run)
    assert record["initialEvaluation"]["eval_loss"] == first.metrics["initial_eval_loss"]
    assert record["finalEvaluation"]["eval_loss"] == second.metrics["eval_loss"]
    assert [attempt["number"] for attempt in record["attempts"]] == [1, 2]
    assert record["versions"].keys() > {"python", "torch", "transformers", "trl"}


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    pods: Any, work: Any, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(checkpoint={"saveSteps": 2, "keepLast": 2})
    pods.write(run)
    assert work(run, stop_after=6).checkpoint_steps == (4, 6)
    weights = work.folder(run) / "checkpoints/step-00000006/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    outcome = work(run, attempt=2)
    assert outcome.resumed_from_step == 4
    assert "step-00000006 is passed over: model.safetensors has other contents" in caplog.text
    # The damaged one is gone, and not counted when the old ones are pruned.
    assert outcome.checkpoint_steps == (6, STEPS)


def test_a_run_that_died_after_its_last_step_trains_no_step_more(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run()
    pods.write(run)
    assert work(run).exit_code == ExitCode.SUCCESS
    folder = work.folder(run)
    expected = json.loads((folder / "output/manifest.json").read_text())
    (folder / "output").rename(folder / "output.tmp-1")
    outcome = work(run, attempt=2)
    assert (outcome.exit_code, outcome.resumed_from_step, outcome.last_step) == (ExitCode.SUCCESS, STEPS, STEPS)
    assert not list(folder.glob("*.tmp-*"))
    manifest = json.loads((folder / "output/manifest.json").read_text())
    (weights,) = [file for file in manifest["files"] if file["path"] == "model.safetensors"]
    assert weights in expected["files"]


def test_what_a_dead_attempt_left_behind_is_removed_and_never_resumed(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run()
    pods.write(run)
    assert work(run, stop_after=3).exit_code == ExitCode.TERMINATED
    checkpoints = work.folder(run) / "checkpoints"
    half = checkpoints / ".attempt-1/checkpoint-7"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    outcome = work(run, attempt=2)
    assert (outcome.exit_code, outcome.resumed_from_step) == (ExitCode.SUCCESS, 3)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000004", "step-00000008"]
