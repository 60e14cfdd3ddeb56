"""`spec.training`: which argument belongs to what, what is made explicit, what needs a GPU."""

import typing
from typing import Any

import pytest

from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.resolve import resolve
from tunesmith_api.v1alpha1 import FineTuneJobSpec
from tunesmith_api.v1alpha1.training import Training
from tunesmith_api.v1alpha1.training.extra_arguments import REFUSED_ARGUMENTS
from tunesmith_api.v1alpha1.training.optimizers import OPTIMIZER_DEFAULTS, OptimArgs, Optimizer
from tunesmith_api.v1alpha1.training.schedules import SCHEDULE_DEFAULTS, LrSchedulerKwargs, Schedule
from tunesmith_api.v1alpha1.training.suitability import cuda_only

PROFILES = {
    "cpu": AcceleratorProfile(name="cpu", device="cpu", image="trainer"),
    "cuda": AcceleratorProfile(name="cuda", device="cuda", image="trainer", resource_name="nvidia.com/gpu"),
}


def resolved(device: str = "cpu", **training: Any) -> Training:
    """Return what a run is told of this block."""
    wire = {
        "method": "sft",
        "model": {"path": {"claim": "models"}},
        "datasets": [{"claim": {"name": "data", "path": "train.jsonl"}}],
        "training": training,
    }
    spec = FineTuneJobSpec.model_validate(wire)
    return resolve("FineTuneJob", "tiny", spec, PROFILES[device], trains_adapter=False).training


@pytest.mark.parametrize(
    ("choices", "defaults", "block"),
    [(Optimizer, OPTIMIZER_DEFAULTS, OptimArgs), (Schedule, SCHEDULE_DEFAULTS, LrSchedulerKwargs)],
    ids=["optimisers", "schedules"],
)
def test_every_choice_has_its_arguments_and_every_argument_its_choice(choices: Any, defaults: Any, block: Any) -> None:
    assert set(typing.get_args(choices)) == defaults.keys()
    assert {name for arguments in defaults.values() for name in arguments} == block.model_fields.keys()


@pytest.mark.parametrize("optim", OPTIMIZER_DEFAULTS)
def test_the_arguments_of_an_optimiser_become_explicit(optim: str) -> None:
    given = resolved(optim=optim).optim_args
    assert given is not None
    wanted = {name: value for name, value in OPTIMIZER_DEFAULTS[optim].items() if value is not None}
    assert given.model_dump(exclude_none=True) == wanted


def test_what_the_user_says_stays() -> None:
    training = resolved(optim="lion", optimArgs={"beta1": 0.5}, lrSchedulerType="cosine")
    assert training.optim_args == OptimArgs(beta1=0.5, beta2=0.99)
    assert training.lr_scheduler_kwargs == LrSchedulerKwargs(num_cycles=0.5)


def test_an_adamw_of_any_device_is_the_default() -> None:
    training = resolved()
    assert (training.optim, training.optim_args) == (
        "adamw_torch_fused",
        OptimArgs(beta1=0.9, beta2=0.999, epsilon=1e-8),
    )
    assert list(cuda_only(training)) == []


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, (None, None, None)),
        ({"evalStrategy": "epoch"}, ("loss", False, None)),
        ({"evalStrategy": "steps", "loggingSteps": 0.1}, ("loss", False, 0.1)),
        ({"evalStrategy": "epoch", "metricForBestModel": "rewards/accuracies"}, ("rewards/accuracies", True, None)),
        ({"evalStrategy": "epoch", "metricForBestModel": "gain", "greaterIsBetter": False}, ("gain", False, None)),
        ({"evalStrategy": "steps", "evalSteps": 5}, ("loss", False, 5)),
    ],
)
def test_evaluations_know_what_is_best(training: dict[str, Any], expected: tuple[Any, ...]) -> None:
    block = resolved(**training)
    assert (block.metric_for_best_model, block.greater_is_better, block.eval_steps) == expected


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
def test_memory_is_pinned_for_gpus(device: str, pinned: bool) -> None:
    assert resolved(device).dataloader_pin_memory == pinned
    assert resolved(device, dataloaderPinMemory=False).dataloader_pin_memory is False


@pytest.mark.parametrize(
    ("training", "fields"),
    [
        ({"optim": "paged_adamw_32bit"}, ["optim"]),
        ({"autoFindBatchSize": True}, ["autoFindBatchSize"]),
        ({"tf32": True}, ["tf32"]),
        ({"tf32": False}, []),
        ({"extraArguments": {"use_liger_kernel": "true"}}, ["extraArguments.use_liger_kernel"]),
        ({"extraArguments": {"use_liger_kernel": "false"}}, []),
        ({"torchCompile": True}, ["torchCompile"]),
        ({"torchCompile": True, "torchCompileBackend": "aot_eager"}, []),
        ({"dataloaderPinMemory": True, "optim": "adamw_8bit"}, ["optim", "dataloaderPinMemory"]),
    ],
)
def test_what_needs_a_gpu(training: dict[str, Any], fields: list[str]) -> None:
    assert [field for field, _ in cuda_only(Training.model_validate(training))] == fields


def test_a_refused_argument_is_no_field() -> None:
    assert not REFUSED_ARGUMENTS.keys() & Training.model_fields.keys()
