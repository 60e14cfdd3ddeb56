"""Defaults that depend on other fields, made explicit: a resolved spec says everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith_api.naming import default_claim_name, default_output_path
from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
from tunesmith_api.v1alpha1.architecture import DEFAULT_ROPE_THETA, TrainedTokenizer
from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS
from tunesmith_api.v1alpha1.model import Tokenizer
from tunesmith_api.v1alpha1.reporting import Completions
from tunesmith_api.v1alpha1.spec import DEFAULT_RUN_ID
from tunesmith_api.v1alpha1.training.optimizers import OPTIMIZER_DEFAULTS, OptimArgs
from tunesmith_api.v1alpha1.training.schedules import SCHEDULE_DEFAULTS, LrSchedulerKwargs

if TYPE_CHECKING:
    from tunesmith_api.base import ApiModel
    from tunesmith_api.profile import AcceleratorProfile
    from tunesmith_api.v1alpha1.architecture import Architecture
    from tunesmith_api.v1alpha1.auxiliary import AuxiliaryModel
    from tunesmith_api.v1alpha1.compute import ClaimTemplate
    from tunesmith_api.v1alpha1.methods.base import MethodBlock
    from tunesmith_api.v1alpha1.spec import JobSpec
    from tunesmith_api.v1alpha1.training import Training

AnySpec = TypeVar("AnySpec", FineTuneJobSpec, AlignmentJobSpec)

DEFAULT_EPOCHS = 3.0
DEFAULT_REVISION = "main"
_ADAPTER_RATES = {"lora": 10, "ia3": 150, "prompt_tuning": 1500}
"""How many times the learning rate of full weights an adapter has: the fewer weights, the larger steps they take."""


def resolve(kind: str, name: str, spec: AnySpec, profile: AcceleratorProfile, *, trains_adapter: bool) -> AnySpec:
    """Return the spec with every default explicit.

    Args:
        kind: Kind of the job.
        name: Name of the job.
        spec: The spec as the user wrote it.
        profile: The accelerator profile the spec names.
        trains_adapter: Whether an adapter is trained: `peft` is set, or an adapter of `fromJob` is continued.
    """
    block = getattr(spec, spec.method) or METHOD_BLOCKS[spec.method]()
    return spec.model_copy(
        update={
            spec.method: block,
            "training": _training(spec, profile, trains_adapter=trains_adapter),
            "output": _output(kind, name, spec),
            "model": _model(spec, profile),
            "prepare": _prepare(spec, profile),
            "reporting": _reporting(name, spec, METHOD_BLOCKS[spec.method]),
            **_auxiliary(spec),
        }
    )


def _training(spec: AnySpec, profile: AcceleratorProfile, *, trains_adapter: bool) -> Training:
    training = spec.training
    updates: dict[str, object] = {
        "optim_args": OptimArgs(**{**OPTIMIZER_DEFAULTS[training.optim], **_given(training.optim_args)}),
        "lr_scheduler_kwargs": LrSchedulerKwargs(
            **{**SCHEDULE_DEFAULTS[training.lr_scheduler_type], **_given(training.lr_scheduler_kwargs)}
        ),
    }
    if training.learning_rate is None:
        updates["learning_rate"] = _learning_rate(spec, spec.method, trains_adapter=trains_adapter)
    if training.max_steps is None and training.num_train_epochs is None:
        updates["num_train_epochs"] = DEFAULT_EPOCHS
    if training.dataloader_pin_memory is None:
        updates["dataloader_pin_memory"] = profile.device != "cpu"
    if training.torch_compile and training.torch_compile_backend is None:
        updates["torch_compile_backend"] = "inductor"
    return training.model_copy(update=updates | _evaluation(training, METHOD_BLOCKS[spec.method].metric))


def _evaluation(training: Training, default: str) -> dict[str, object]:
    """Return what evaluations lack: when, by which figure to compare, and which way."""
    if training.eval_strategy == "no":
        return {}
    metric = training.metric_for_best_model or default
    better = training.greater_is_better
    updates = {
        "metric_for_best_model": metric,
        "greater_is_better": not metric.endswith("loss") if better is None else better,
    }
    if training.eval_strategy == "steps" and training.eval_steps is None:
        updates["eval_steps"] = training.logging_steps
    return updates


def _given(block: ApiModel | None) -> dict[str, Any]:
    """Return the fields of a block that are set."""
    return {} if block is None else block.model_dump(exclude_none=True)


def _learning_rate(spec: JobSpec, method: str, *, trains_adapter: bool) -> float:
    rate = METHOD_BLOCKS[method].learning_rate
    if not trains_adapter:
        return rate
    kind = next((name for name in _ADAPTER_RATES if getattr(spec.peft, name, None) is not None), "lora")
    return float(f"{rate * _ADAPTER_RATES[kind]:.6g}")  # 1e-05, not 9.999999999999999e-06


def _output(kind: str, name: str, spec: JobSpec) -> object:
    output = spec.output
    return output.model_copy(
        update={
            "claim_name": output.claim_name or default_claim_name(kind, name),
            "path": output.path or default_output_path(kind, name),
            "claim_template": _claim_template(output.claim_template, spec),
        }
    )


def _reporting(name: str, spec: JobSpec, method: type[MethodBlock]) -> object:
    default = name if spec.run_id == DEFAULT_RUN_ID else f"{name}-{spec.run_id}"
    updates: dict[str, object] = {"run_name": spec.reporting.run_name or default}
    if method.uses_rewards:
        updates["completions"] = spec.reporting.completions or Completions()
    return spec.reporting.model_copy(update=updates)


def _claim_template(template: ClaimTemplate, spec: JobSpec) -> ClaimTemplate:
    modes = template.access_modes or ("ReadWriteMany" if spec.num_nodes > 1 else "ReadWriteOnce",)
    return template.model_copy(update={"access_modes": modes})


def _model(spec: JobSpec, profile: AcceleratorProfile) -> object:
    model = spec.model
    updates: dict[str, object] = {}
    if model.dtype == "auto":
        updates["dtype"] = profile.dtypes[0]
    quantization = model.quantization
    if quantization is not None and quantization.load_in_4bit and quantization.bnb_4bit_compute_dtype is None:
        dtype = updates.get("dtype", model.dtype)
        updates["quantization"] = quantization.model_copy(update={"bnb_4bit_compute_dtype": dtype})
    if model.name is not None and model.revision is None:
        updates["revision"] = DEFAULT_REVISION
    if model.cache is not None:
        template = _claim_template(model.cache.claim_template, spec)
        updates["cache"] = model.cache.model_copy(update={"claim_template": template})
    if model.architecture is not None:
        updates["architecture"] = _architecture(model.architecture)
        updates["tokenizer"] = model.tokenizer or Tokenizer(train=TrainedTokenizer())
    if model.tokenizer is not None and model.tokenizer.name is not None:
        revision = model.tokenizer.revision or DEFAULT_REVISION
        updates["tokenizer"] = model.tokenizer.model_copy(update={"revision": revision})
    return model.model_copy(update=updates)


def _auxiliary(spec: JobSpec) -> dict[str, object]:
    if not isinstance(spec, AlignmentJobSpec):
        return {}
    rewards = spec.rewards and tuple(
        reward.model_copy(update={"model": _with_revision(reward.model)}) for reward in spec.rewards
    )
    return {"reference_model": _with_revision(spec.reference_model), "rewards": rewards}


def _with_revision(model: AuxiliaryModel | None) -> AuxiliaryModel | None:
    if model is None or model.name is None or model.revision is not None:
        return model
    return model.model_copy(update={"revision": DEFAULT_REVISION})


def _architecture(architecture: Architecture) -> Architecture:
    updates: dict[str, object] = {}
    if architecture.attention_output_bias is None:
        updates["attention_output_bias"] = architecture.attention_bias
    if architecture.position_embedding in {"rope", "yarn"} and architecture.rope_theta is None:
        updates["rope_theta"] = DEFAULT_ROPE_THETA
    yarn = architecture.yarn
    if yarn is not None and yarn.original_max_position_embeddings is None:
        original = max(16, round(architecture.max_position_embeddings / yarn.factor))
        updates["yarn"] = yarn.model_copy(update={"original_max_position_embeddings": original})
    return architecture.model_copy(update=updates)


def _prepare(spec: JobSpec, profile: AcceleratorProfile) -> object:
    if spec.prepare.mode != "auto":
        return spec.prepare
    return spec.prepare.model_copy(update={"mode": "never" if profile.device == "cpu" else "always"})
