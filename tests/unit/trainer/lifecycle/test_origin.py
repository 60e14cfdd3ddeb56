"""A job that goes on from another job's checkpoint trains what that job would have, had it been longer."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun, ResolvedModel
from tunesmith_api.v1alpha1.model import ModelSource
from tunesmith_api.v1alpha1.peft import Lora, Peft
from tunesmith_api.v1alpha1.status import VolumePath

pytestmark = pytest.mark.slow

MakeRun = Callable[..., FrozenRun]
CONSTANT = {"lrSchedulerType": "constant"}


def checkpoint_of(run: FrozenRun, step: int) -> VolumePath:
    return VolumePath(claim=run.output.claim, path=f"{run.directory}/checkpoints/step-{step:08d}")


def going_on(run: FrozenRun, model: ResolvedModel, **wanted: Any) -> FrozenRun:
    """Return a run that goes on from a checkpoint, as the operator freezes it."""
    source = ModelSource.model_validate({"resumeFrom": {"name": "earlier"} | wanted, "dtype": "float32"})
    return run.model_copy(update={"model": model, "spec": run.spec.model_copy(update={"model": source, "peft": None})})


@pytest.fixture
def earlier(pods: Any, work: Any, make_run: MakeRun) -> FrozenRun:
    """A job of eight steps that is Complete."""
    run = make_run("earlier", training=CONSTANT)
    pods.write(run)
    assert work(run).exit_code == ExitCode.SUCCESS
    return run


@pytest.fixture
def whole(earlier: FrozenRun) -> ResolvedModel:
    """Where its last checkpoint is, which holds a whole model."""
    place = checkpoint_of(earlier, 8)
    return ResolvedModel(base=place, checkpoint=place)


def optimizer_steps(work: Any, run: FrozenRun, step: int) -> float:
    """Return how many steps the optimiser of a checkpoint remembers."""
    import torch

    folder = work.folder(run) / f"checkpoints/step-{step:08d}"
    state = torch.load(folder / "optimizer.pt", weights_only=True)["state"]
    return float(next(iter(state.values()))["step"])


def test_it_trains_on_as_an_unbroken_run_does(pods: Any, work: Any, make_run: MakeRun, whole: ResolvedModel) -> None:
    unbroken = make_run("unbroken", training=CONSTANT | {"maxSteps": 12})
    longer = going_on(make_run("longer", training=CONSTANT | {"maxSteps": 12}), whole)
    for run in (unbroken, longer):
        pods.write(run)
    assert work(unbroken).exit_code == ExitCode.SUCCESS
    outcome = work(longer)
    assert (outcome.exit_code, outcome.resumed_from_step, outcome.last_step) == (ExitCode.SUCCESS, 8, 12)
    losses, expected = work.losses(longer), work.losses(unbroken)
    assert [losses[step] for step in (9, 10, 11, 12)] == pytest.approx([expected[step] for step in (9, 10, 11, 12)])
    assert optimizer_steps(work, longer, 12) == 12


def test_its_own_learning_rate_and_schedule_hold(pods: Any, work: Any, make_run: MakeRun, whole: ResolvedModel) -> None:
    training = {"maxSteps": 16, "lrSchedulerType": "linear", "learningRate": 1e-3}
    longer = going_on(make_run("longer", training=training), whole)
    pods.write(longer)
    work(longer)
    rates = {entry["step"]: entry["learning_rate"] for entry in work.record(longer)["metrics"] if "loss" in entry}
    assert [rates[step] for step in range(9, 17)] == pytest.approx([1e-3 * (17 - step) / 16 for step in range(9, 17)])


def test_the_optimiser_can_begin_anew(pods: Any, work: Any, make_run: MakeRun, whole: ResolvedModel) -> None:
    run = make_run("longer", training={"maxSteps": 16, "lrSchedulerType": "linear", "learningRate": 1e-3})
    longer = going_on(run, whole, loadOptimizerState=False)
    pods.write(longer)
    assert work(longer).exit_code == ExitCode.SUCCESS
    assert optimizer_steps(work, longer, 16) == 8
    rates = {entry["step"]: entry["learning_rate"] for entry in work.record(longer)["metrics"] if "loss" in entry}
    assert rates[9] == pytest.approx(1e-3 * 8 / 16), "the schedule goes on all the same"


def test_a_later_attempt_goes_on_from_its_own_checkpoint(
    pods: Any, work: Any, make_run: MakeRun, whole: ResolvedModel
) -> None:
    longer = going_on(make_run("longer", training=CONSTANT | {"maxSteps": 16}), whole)
    pods.write(longer)
    assert work(longer, 1, stop_after=3).exit_code == ExitCode.TERMINATED
    outcome = work(longer, 2)
    assert (outcome.exit_code, outcome.resumed_from_step, outcome.last_step) == (ExitCode.SUCCESS, 11, 16)


def test_an_adapter_goes_on_on_its_base(pods: Any, work: Any, make_run: MakeRun, earlier: FrozenRun) -> None:
    base = VolumePath(claim=earlier.output.claim, path=earlier.output_directory)
    runs = {name: make_run(name, training=CONSTANT | {"maxSteps": steps}) for name, steps in (("a", 4), ("b", 8))}
    peft = {
        "peft": Peft(lora=Lora(r=4)),
        "model": ModelSource.model_validate({"path": {"claim": "x"}, "dtype": "float32"}),
    }
    for name, run in runs.items():
        runs[name] = run.model_copy(
            update={"model": ResolvedModel(base=base), "spec": run.spec.model_copy(update=peft)}
        )
        pods.write(runs[name])
        assert work(runs[name]).exit_code == ExitCode.SUCCESS
    place = checkpoint_of(runs["a"], 4)
    model = ResolvedModel(base=base, adapter=place, from_adapter="continue", checkpoint=place)
    longer = going_on(make_run("longer", training=CONSTANT | {"maxSteps": 8}), model)
    pods.write(longer)
    outcome = work(longer)
    assert outcome.output is not None
    assert (outcome.output.kind, outcome.output.base_model) == ("adapter", base)
    losses, expected = work.losses(longer), work.losses(runs["b"])
    assert [losses[step] for step in (5, 6, 7, 8)] == pytest.approx([expected[step] for step in (5, 6, 7, 8)])


def test_what_can_not_be_gone_on_with_is_told(pods: Any, work: Any, make_run: MakeRun, whole: ResolvedModel) -> None:
    short = going_on(make_run("short", training=CONSTANT | {"maxSteps": 8}), whole)
    pods.write(short)
    outcome = work(short)
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert "maxSteps 8 is not beyond step 8 of the checkpoint" in outcome.message
    assert whole.checkpoint is not None
    folder = pods.context(short).claim_path(whole.checkpoint.claim, whole.checkpoint.path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"changed": True}))
    damaged = work(going_on(make_run("damaged", training=CONSTANT | {"maxSteps": 12}), whole))
    assert damaged.exit_code == ExitCode.MODEL_NOT_FOUND
    assert "is no whole checkpoint: config.json has" in damaged.message
