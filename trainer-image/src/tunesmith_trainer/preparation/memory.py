"""Whether a training fits into the memory of a device, by the estimate; if not, the nearest setting that does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tunesmith_api.quantity import parse_bytes, render_bytes
from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS
from tunesmith_api.v1alpha1.preparation import MemoryEstimate
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.models.memory import Workload, estimate, nearest_fit

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.models.outline import Outline


def require_memory(context: RunContext, outline: Outline, frozen: int) -> MemoryEstimate:
    """Return what training needs of one device.

    Args:
        context: The run.
        outline: The model that is trained.
        frozen: Parameters of the models beside it.

    Raises:
        InvalidSpec: The accelerator profile says that a device has less.
    """
    profile, load = context.run.profile, replace(Workload.of(context.run), frozen=frozen)
    needed = estimate(outline.shape, load)
    if profile.device_memory is None:
        return MemoryEstimate(required=render_bytes(needed.total))
    limit = parse_bytes(profile.device_memory)
    if needed.total <= limit:
        return MemoryEstimate(required=render_bytes(needed.total), available=str(profile.device_memory))
    fewest = METHOD_BLOCKS[context.run.spec.method].fewest_rows
    fit = nearest_fit(outline.shape, load, limit, fewest_rows=fewest, adapted=outline.adapted)
    remedy = f"set {fit}" if fit else "no setting makes it fit: choose a smaller model, or a profile of larger devices"
    parts = {
        "weights": needed.weights + needed.reference,
        "other models": needed.frozen,
        "optimiser": needed.optimizer,
        "gradients": needed.gradients,
        "activations": needed.activations + needed.head,
        "keys and values of completions": needed.generation,
        "the program itself": needed.runtime,
    }
    listed = ", ".join(f"{name} {render_bytes(amount)}" for name, amount in parts.items() if amount)
    raise InvalidSpec(
        f"Training needs about {render_bytes(needed.total)} of each device ({listed}), and accelerator profile"
        f" {profile.name} says that a device has {profile.device_memory}: {remedy}"
    )
