"""The resolved `spec.training` as keyword arguments of TRL's config of the method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.lifecycle import lifecycle_arguments
from tunesmith_trainer.methods.extra_arguments import extra_arguments

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.training import Training
    from tunesmith_trainer.context import RunContext

Block = TypeVar("Block")

# Fields that TrainingArguments has under the same name, and takes as they are.
_SAME = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "weight_decay",
    "max_grad_norm",
    "label_smoothing_factor",
    "neftune_noise_alpha",
    "average_tokens_across_devices",
    "max_length",
    "tf32",
    "torch_compile",
    "torch_compile_backend",
    "torch_compile_mode",
    "full_determinism",
    "ddp_bucket_cap_mb",
    "ddp_broadcast_buffers",
    "seed",
    "data_seed",
    "train_sampling_strategy",
    "dataloader_num_workers",
    "dataloader_prefetch_factor",
    "dataloader_persistent_workers",
    "dataloader_pin_memory",
    "dataloader_drop_last",
    "logging_strategy",
    "log_level",
    "log_on_each_node",
    "include_num_input_tokens_seen",
    "eval_strategy",
    "metric_for_best_model",
    "greater_is_better",
)


def config_arguments(context: RunContext, config: type, **own: Any) -> dict[str, Any]:
    """Return all arguments of the method's config: the job's, the method's own and the spec's `extraArguments`.

    Args:
        context: The run.
        config: TRL's config class of the method.
        own: Arguments of the method alone.

    Raises:
        InvalidSpec: The spec asks for something that the installed TRL does not know or the job does not allow.
    """
    ours = common_arguments(context) | own
    training = context.run.spec.training
    taken = ours.keys() | type(training).model_fields.keys()
    return ours | extra_arguments(training.extra_arguments or {}, config, taken)


def common_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments that do not depend on the method.

    Nothing is left to TRL's defaults that differs from the spec's: TRL turns bfloat16 and gradient checkpointing on.

    Raises:
        InvalidSpec: The schedule ends above the learning rate.
    """
    spec, device = context.run.spec, context.run.profile.device
    training, dtype = spec.training, spec.model.dtype
    checkpointing = training.gradient_checkpointing_kwargs
    timeout = {} if training.ddp_timeout is None else {"ddp_timeout": training.ddp_timeout}
    return {
        **{name: getattr(training, name) for name in _SAME},
        **timeout,
        "num_train_epochs": training.num_train_epochs or 1.0,
        "max_steps": -1 if training.max_steps is None else training.max_steps,
        "warmup_steps": training.warmup_steps,
        "logging_steps": training.logging_steps,
        "eval_steps": training.eval_steps,
        "lr_scheduler_kwargs": schedule_arguments(training),
        "activation_checkpointing": training.gradient_checkpointing,
        "activation_checkpointing_kwargs": checkpointing and checkpointing.model_dump(),
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": device == "cpu",
        "ddp_backend": context.run.profile.backend if context.world_size > 1 else None,
        "ddp_find_unused_parameters": bool(training.ddp_find_unused_parameters),
        **lifecycle_arguments(context),
    }


def schedule_arguments(training: Training) -> dict[str, Any]:
    """Return the arguments of the learning rate schedule.

    Raises:
        InvalidSpec: It ends above the learning rate, which may be the method's default.
    """
    given = training.lr_scheduler_kwargs
    arguments = {} if given is None else given.model_dump(exclude_none=True)
    for field, name in (("lr_end", "lrEnd"), ("min_lr", "minLr")):
        if arguments.get(field, 0.0) > 0 and arguments[field] >= (training.learning_rate or 0.0):
            raise InvalidSpec(
                f"spec.training.lrSchedulerKwargs.{name} is {arguments[field]:g} and must be below the learning rate,"
                f" {training.learning_rate:g}: lower it, or set a higher learningRate"
            )
    if training.lr_scheduler_type == "cosine_with_restarts":
        arguments["num_cycles"] = int(arguments["num_cycles"])
    if training.lr_scheduler_type == "reduce_lr_on_plateau":
        arguments["mode"] = "max" if training.greater_is_better else "min"
    return arguments


def method_block(context: RunContext, kind: type[Block]) -> Block:
    """Return the spec's block of the method, which a resolved spec always has."""
    spec = context.run.spec
    block = getattr(spec, spec.method)
    if not isinstance(block, kind):
        raise TypeError(f"the frozen run has no block for method {spec.method}")
    return block
