"""The setting nearest to the one that was asked for whose training fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from typing_extensions import override

from tunesmith_trainer.models.memory.estimate import MemoryEstimate, estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith_trainer.models.memory.shape import ModelShape
    from tunesmith_trainer.models.memory.workload import Workload

_SHORTEST = 128  # tokens; sequences below are no advice
_PATHS = {
    "batch_size": "spec.training.perDeviceTrainBatchSize",
    "accumulation": "spec.training.gradientAccumulationSteps",
    "gradient_checkpointing": "spec.training.gradientCheckpointing",
    "max_length": "spec.training.maxLength",
    "adapted": "spec.peft.lora",
    "quantized_bits": "spec.model.quantization",
}
_SPELLED = {"gradient_checkpointing": "true", "adapted": "{}", "quantized_bits": "{loadIn4bit: true}"}


@dataclass(frozen=True)
class Fit:
    """A setting that fits.

    Attributes:
        changes: What to set: paths of fields, and their values as a user writes them.
        estimate: What it needs then.
    """

    changes: dict[str, str]
    estimate: MemoryEstimate

    @override
    def __str__(self) -> str:
        """Return the changes, and what they come to."""
        changes = ", ".join(f"{path}: {value}" for path, value in self.changes.items())
        return f"{changes} ({self.estimate.total / 2**30:.1f} GiB)"


def nearest_fit(
    shape: ModelShape, load: Workload, limit: int, *, fewest_rows: int = 1, adapted: ModelShape | None = None
) -> Fit | None:
    """Return the least change that fits, None when nothing does.

    Tried in this order, each with all before it: fewer rows at a time, with more of them accumulated so that the global
    batch stays; gradient checkpointing; a LoRA adapter in place of full weights; its base in 4 bits; shorter sequences.

    Args:
        shape: The model.
        load: What is asked of it.
        limit: Memory of the device, in bytes.
        fewest_rows: Least rows of a micro-batch that the method takes.
        adapted: The model with a LoRA adapter, where one may be trained in place of full weights.
    """
    for model, changed in _candidates(_ways(shape, load, adapted), fewest_rows):
        needed = estimate(model, changed)
        if needed.total <= limit:
            return Fit(_changes(load, changed), needed)
    return None


def _ways(shape: ModelShape, load: Workload, adapted: ModelShape | None) -> list[tuple[ModelShape, Workload]]:
    """Return the kinds of training to try: as asked, with an adapter, with an adapter on 4 bits."""
    ways = [(shape, load)]
    if adapted is not None and not load.adapted:
        ways.append((adapted, replace(load, adapted=True, reference="none")))
    model, last = ways[-1]
    if last.adapted and last.device == "cuda" and last.quantized_bits is None:
        ways.append((model, replace(last, quantized_bits=4)))
    return ways


def _candidates(ways: list[tuple[ModelShape, Workload]], fewest_rows: int) -> Iterator[tuple[ModelShape, Workload]]:
    for model, load in ways:
        for checkpointing in dict.fromkeys((load.gradient_checkpointing, True)):
            for smaller in _batches(replace(load, gradient_checkpointing=checkpointing), fewest_rows):
                yield model, smaller
    for model, load in ways:
        *_, smallest = _batches(replace(load, gradient_checkpointing=True), fewest_rows)
        length = load.max_length // 2
        while length >= _SHORTEST:
            yield model, replace(smallest, max_length=length)
            length //= 2


def _batches(load: Workload, fewest_rows: int) -> Iterator[Workload]:
    """Yield the same global batch in smaller and smaller micro-batches, itself first."""
    rows = load.batch_size * load.accumulation
    for size in range(load.batch_size, 0, -1):
        if size == load.batch_size or (size >= fewest_rows and rows % size == 0):
            yield replace(load, batch_size=size, accumulation=rows // size)


def _changes(before: Workload, after: Workload) -> dict[str, str]:
    return {
        path: _SPELLED.get(field, str(getattr(after, field)))
        for field, path in _PATHS.items()
        if getattr(after, field) != getattr(before, field)
    }
