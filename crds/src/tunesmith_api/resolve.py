"""Defaults that depend on other fields, made explicit: a resolved spec says everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tunesmith_api.naming import default_claim_name, default_output_path
from tunesmith_api.v1alpha1.jobs import AlignmentJobSpec, FineTuneJobSpec
from tunesmith_api.v1alpha1.methods import Dpo, Pretrain, Sft
from tunesmith_api.v1alpha1.model import Tokenizer

if TYPE_CHECKING:
    from tunesmith_api.profile import AcceleratorProfile
    from tunesmith_api.v1alpha1.jobs import JobSpec
    from tunesmith_api.v1alpha1.training import Training

AnySpec = TypeVar("AnySpec", FineTuneJobSpec, AlignmentJobSpec)

DEFAULT_EPOCHS = 3.0
_LEARNING_RATE = {  # method -> (full weights, adapter)
    "pretrain": (5e-4, 5e-4),
    "sft": (2e-5, 2e-4),
    "dpo": (1e-6, 1e-5),
}
_FEW_WEIGHTS_LEARNING_RATE = {  # field of peft -> method -> rate: few weights take larger steps
    "ia3": {"sft": 3e-3, "dpo": 1.5e-4},
    "prompt_tuning": {"sft": 3e-2, "dpo": 1.5e-3},
}
_METHOD_BLOCK = {"pretrain": Pretrain, "sft": Sft, "dpo": Dpo}


def resolve(kind: str, name: str, spec: AnySpec, profile: AcceleratorProfile, *, trains_adapter: bool) -> AnySpec:
    """Return the spec with every default explicit.

    Args:
        kind: Kind of the job.
        name: Name of the job.
        spec: The spec as the user wrote it.
        profile: The accelerator profile the spec names.
        trains_adapter: Whether an adapter is trained: `peft` is set, or an adapter of `fromJob` is continued.
    """
    block = getattr(spec, spec.method) or _METHOD_BLOCK[spec.method]()
    return spec.model_copy(
        update={
            spec.method: block,
            "training": _training(spec, spec.method, trains_adapter=trains_adapter),
            "output": _output(kind, name, spec),
            "model": _model(spec, profile),
        }
    )


def _training(spec: JobSpec, method: str, *, trains_adapter: bool) -> Training:
    training = spec.training
    updates: dict[str, object] = {}
    if training.learning_rate is None:
        updates["learning_rate"] = _learning_rate(spec, method, trains_adapter=trains_adapter)
    if training.max_steps is None and training.num_train_epochs is None:
        updates["num_train_epochs"] = DEFAULT_EPOCHS
    if training.eval_strategy == "steps" and training.eval_steps is None:
        updates["eval_steps"] = training.logging_steps
    return training.model_copy(update=updates)


def _learning_rate(spec: JobSpec, method: str, *, trains_adapter: bool) -> float:
    for adapter, rates in _FEW_WEIGHTS_LEARNING_RATE.items():
        if getattr(spec.peft, adapter, None) is not None:
            return rates[method]
    return _LEARNING_RATE[method][trains_adapter]


def _output(kind: str, name: str, spec: JobSpec) -> object:
    output = spec.output
    modes = output.claim_template.access_modes or ("ReadWriteMany" if spec.num_nodes > 1 else "ReadWriteOnce",)
    return output.model_copy(
        update={
            "claim_name": output.claim_name or default_claim_name(kind, name),
            "path": output.path or default_output_path(kind, name),
            "claim_template": output.claim_template.model_copy(update={"access_modes": modes}),
        }
    )


def _model(spec: JobSpec, profile: AcceleratorProfile) -> object:
    model = spec.model
    updates: dict[str, object] = {}
    if model.dtype == "auto":
        updates["dtype"] = profile.dtypes[0]
    quantization = model.quantization
    if quantization is not None and quantization.load_in_4bit and quantization.bnb_4bit_compute_dtype is None:
        dtype = updates.get("dtype", model.dtype)
        updates["quantization"] = quantization.model_copy(update={"bnb_4bit_compute_dtype": dtype})
    if model.architecture is not None and model.tokenizer is None:
        updates["tokenizer"] = Tokenizer()
    return model.model_copy(update=updates)
