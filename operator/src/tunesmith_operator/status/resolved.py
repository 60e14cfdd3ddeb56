"""What a frozen run trains with, in the few figures that a reader of the status asks for first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.v1alpha1.status import BaseRecord, Resolved

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun


def resolved(run: FrozenRun) -> Resolved:
    """Return what defaults and accelerator profile have made of a spec."""
    model, training, base = run.spec.model, run.spec.training, run.adapter_base
    rows = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return Resolved(
        dtype=model.dtype,
        attn_implementation=model.attn_implementation,
        gradient_checkpointing=training.gradient_checkpointing,
        optim=training.optim,
        learning_rate=f"{training.learning_rate or 0.0:g}",
        world_size=run.world_size,
        global_batch_size=rows * run.world_size,
        base_model=None if base is None else BaseRecord.of(base),
    )
