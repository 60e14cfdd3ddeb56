"""The best evaluated model is kept, survives an interruption, and becomes the output where the spec says so."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun

MakeRun = Callable[..., FrozenRun]
# So high a rate that the loss soon rises again.
RISING: dict[str, Any] = {
    "training": {"evalStrategy": "steps", "evalSteps": 1, "learningRate": 0.3, "lrSchedulerType": "constant"},
    "evaluation": {"splitRatio": 0.8},
}


def run_of(make_run: MakeRun, uid: str, *, training: dict[str, Any] | None = None, **spec: Any) -> FrozenRun:
    return make_run(uid=uid, **RISING | {"training": RISING["training"] | (training or {})} | spec)


def evaluated(work: Any, run: FrozenRun) -> dict[int, float]:
    return {entry["step"]: entry["eval_loss"] for entry in work.record(run)["metrics"] if "eval_loss" in entry}


def weights(work: Any, run: FrozenRun) -> str:
    manifest = json.loads((work.folder(run) / "output/manifest.json").read_text())
    (digest,) = [file["sha256"] for file in manifest["files"] if file["path"] == "model.safetensors"]
    return str(digest)


def checkpoints(work: Any, run: FrozenRun) -> list[str]:
    return sorted(path.name for path in (work.folder(run) / "checkpoints").iterdir())


def finish(pods: Any, work: Any, run: FrozenRun, **how: Any) -> Any:
    pods.write(run)
    outcome = work(run, **how)
    assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
    return outcome


@pytest.mark.slow
def test_the_output_is_the_best_and_not_the_last(pods: Any, work: Any, make_run: MakeRun) -> None:
    best = run_of(make_run, "best", training={"loadBestModelAtEnd": True}, checkpoint={"saveSteps": 3, "keepLast": 1})
    outcome = finish(pods, work, best)
    losses = evaluated(work, best)
    step = min(losses, key=lambda step: losses[step])
    assert 1 <= step < 8, "the last is not the best, else this shows nothing"
    assert checkpoints(work, best) == [f"step-{step:08d}", "step-00000008"]
    record = work.record(best)
    assert record["bestStep"] == step
    assert record["finalEvaluation"]["eval_loss"] == losses[step] == outcome.metrics["eval_loss"]
    until = run_of(make_run, "until", training={"maxSteps": step})
    finish(pods, work, until)
    assert weights(work, best) == weights(work, until)


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [4, 14])
def test_an_interruption_changes_neither(pods: Any, work: Any, make_run: MakeRun, stop_after: int) -> None:
    spec: dict[str, Any] = {"training": {"loadBestModelAtEnd": True}, "checkpoint": {"keepLast": 1}}
    whole, halved = run_of(make_run, "whole", **spec), run_of(make_run, "halved", **spec)
    finish(pods, work, whole)
    pods.write(halved)
    assert work(halved, stop_after=stop_after).exit_code == ExitCode.TERMINATED
    finish(pods, work, halved, attempt=2)
    assert work.record(halved)["bestStep"] == work.record(whole)["bestStep"]
    assert weights(work, halved) == weights(work, whole)


@pytest.mark.slow
def test_the_evaluation_of_the_last_step_is_made_up_for(pods: Any, work: Any, make_run: MakeRun) -> None:
    spec: dict[str, Any] = {
        "training": {"evalStrategy": "steps", "evalSteps": 4, "loadBestModelAtEnd": True},
        "evaluation": {"splitRatio": 0.8},
    }
    whole, halved = make_run(uid="whole", **spec), make_run(uid="halved", **spec)
    finish(pods, work, whole)
    pods.write(halved)
    # Looked for after each step but the last, and in each evaluation, which has two batches or more.
    stopped = work(halved, stop_after=13)
    assert (stopped.exit_code, stopped.last_step) == (ExitCode.TERMINATED, 8), stopped.message
    finish(pods, work, halved, attempt=2)
    assert evaluated(work, halved).keys() == evaluated(work, whole).keys() == {4, 8}
    assert work.record(halved)["bestStep"] == work.record(whole)["bestStep"] == 8
    assert weights(work, halved) == weights(work, whole)


@pytest.mark.slow
def test_a_best_one_that_is_lost_makes_room_for_others(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = run_of(make_run, "lost", training={"loadBestModelAtEnd": True}, checkpoint={"saveSteps": 1, "keepLast": 1})
    pods.write(run)
    stopped = work(run, stop_after=14)
    kept = checkpoints(work, run)
    assert len(kept) == 2, stopped.message
    (work.folder(run) / "checkpoints" / kept[0] / "model.safetensors").unlink()
    finish(pods, work, run, attempt=2)
    losses = {step: loss for step, loss in evaluated(work, run).items() if step > stopped.last_step}
    assert work.record(run)["bestStep"] == min(losses, key=lambda step: losses[step])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["no", "epoch", "best"])
def test_only_what_the_strategy_names_is_saved(pods: Any, work: Any, make_run: MakeRun, strategy: str) -> None:
    training = {"perDeviceTrainBatchSize": 32}
    run = run_of(make_run, strategy, training=training, checkpoint={"saveStrategy": strategy, "keepLast": 9})
    finish(pods, work, run)
    losses = evaluated(work, run)
    expected = {
        "no": [],
        "epoch": [
            entry["step"] for entry in work.record(run)["metrics"] if "loss" in entry and entry["epoch"] % 1 == 0
        ],
        "best": [step for step in losses if losses[step] == min(losses[other] for other in losses if other <= step)],
    }[strategy]
    assert len(expected) > 1 or strategy == "no"
    saved = (work.folder(run) / "checkpoints").glob("step-*")
    assert sorted(path.name for path in saved) == [f"step-{step:08d}" for step in expected]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["epoch", "no"])
def test_told_to_stop_it_saves_all_the_same(pods: Any, work: Any, make_run: MakeRun, strategy: str) -> None:
    """In the middle of an epoch, at whose end evaluation, log and save are due."""
    by_epoch: dict[str, Any] = {
        "training": {"evalStrategy": "epoch", "loggingStrategy": "epoch", "perDeviceTrainBatchSize": 8},
        "evaluation": {"splitRatio": 0.8},
        "checkpoint": {"saveStrategy": strategy},
    }
    whole, halved = make_run(uid="whole", **by_epoch), make_run(uid="halved", **by_epoch)
    finish(pods, work, whole)
    pods.write(halved)
    stopped = work(halved, stop_after=3)
    assert stopped.exit_code == ExitCode.TERMINATED, stopped.message
    assert stopped.checkpoint_steps[-1] == stopped.last_step
    finish(pods, work, halved, attempt=2)
    assert work.losses(halved) == pytest.approx(work.losses(whole), abs=1e-6)


@pytest.mark.slow
def test_told_to_stop_in_the_last_evaluation_it_saves_what_no_save_was_due_for(
    pods: Any, work: Any, make_run: MakeRun
) -> None:
    spec: dict[str, Any] = {"evaluation": {"splitRatio": 0.8}, "checkpoint": {"saveStrategy": "no"}}
    whole, halved = make_run(uid="whole", **spec), make_run(uid="halved", **spec)
    finish(pods, work, whole)
    assert not list((work.folder(whole) / "checkpoints").glob("step-*"))
    pods.write(halved)
    # Looked for after each step but the last, and in the evaluation.
    stopped = work(halved, stop_after=8)
    assert (stopped.exit_code, stopped.checkpoint_steps) == (ExitCode.TERMINATED, (8,)), stopped.message
    assert finish(pods, work, halved, attempt=2).resumed_from_step == 8
    assert weights(work, halved) == weights(work, whole)


def test_a_metric_that_is_not_measured_is_refused_before_training(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = run_of(make_run, "unknown", training={"metricForBestModel": "accuracy"})
    pods.write(run)
    outcome = work(run)
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert "spec.training.metricForBestModel: evaluations have no figure accuracy; they have" in outcome.message
    assert "mean_token_accuracy" in outcome.message
