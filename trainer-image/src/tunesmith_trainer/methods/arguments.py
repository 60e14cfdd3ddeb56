"""The resolved `spec.training` as keyword arguments of transformers.TrainingArguments, the same for every method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith_trainer.lifecycle import lifecycle_arguments

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext

Block = TypeVar("Block")


def common_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments that do not depend on the method.

    Nothing is left to TRL's defaults that differs from the spec's: TRL turns bfloat16 and gradient checkpointing on.
    """
    spec, device = context.run.spec, context.run.profile.device
    training, dtype = spec.training, spec.model.dtype
    return {
        "num_train_epochs": training.num_train_epochs or 1.0,
        "max_steps": -1 if training.max_steps is None else training.max_steps,
        "per_device_train_batch_size": training.per_device_train_batch_size,
        "per_device_eval_batch_size": training.per_device_eval_batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.lr_scheduler_type,
        "warmup_steps": training.warmup_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "max_length": training.max_length,
        "activation_checkpointing": training.gradient_checkpointing,
        "seed": training.seed,
        "logging_steps": training.logging_steps,
        "eval_strategy": training.eval_strategy,
        "eval_steps": training.eval_steps,
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": device == "cpu",
        "ddp_backend": context.run.profile.backend if context.world_size > 1 else None,
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": device != "cpu",
        **lifecycle_arguments(context),
    }


def method_block(context: RunContext, kind: type[Block]) -> Block:
    """Return the spec's block of the method, which a resolved spec always has."""
    spec = context.run.spec
    block = getattr(spec, spec.method)
    if not isinstance(block, kind):
        raise TypeError(f"the frozen run has no block for method {spec.method}")
    return block
