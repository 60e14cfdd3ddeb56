"""The largest micro-batch that a device has memory for, found before the first step.

Transformers' own `auto_find_batch_size` trains until memory runs out and then begins anew, on weights that may have
moved, and lets the global batch shrink with the micro-batch.
"""

from __future__ import annotations

import copy
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.collectives import any_rank
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.models.memory.estimate import most_state_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)


def fit_batch_size(trainer: Any, optimizer: str) -> int:
    """Give a trainer the largest micro-batch that fits, with the global batch as it is; return its rows.

    Args:
        trainer: The trainer, before its first step.
        optimizer: Name of the optimiser, whose state takes memory from the first step on.

    Raises:
        InvalidSpec: Not even one row fits.
    """
    arguments = trainer.args
    most = arguments.per_device_train_batch_size
    rows = most * arguments.gradient_accumulation_steps
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    state_bytes = most_state_bytes(optimizer, trained)
    longest = _longest(trainer.train_dataset, most)
    for size in (size for size in range(most, 0, -1) if rows % size == 0):
        # One that a single rank has no memory for is none: all must come to the same.
        if not any_rank(not _fits(trainer, longest[:size], state_bytes)):
            arguments.per_device_train_batch_size = size
            arguments.gradient_accumulation_steps = rows // size
            # The Trainer keeps a copy of its own.
            trainer._train_batch_size = arguments.train_batch_size  # noqa: SLF001
            _log.info("micro-batches of %d rows fit, %d of them to a step", size, rows // size)
            return size
    raise InvalidSpec(
        "spec.training.autoFindBatchSize: not even one of the longest rows fits into the device's memory; lower"
        " spec.training.maxLength, set gradientCheckpointing: true, or train an adapter (spec.peft)"
    )


def _fits(trainer: Any, places: list[int], state_bytes: int) -> bool:
    """Return whether there is memory for micro-batches of the rows at these places."""
    import torch

    batch = trainer.data_collator([trainer.train_dataset[place] for place in places])
    try:
        with _undone(trainer):
            state = torch.empty(state_bytes, dtype=torch.uint8, device=trainer.args.device)
            # Twice: where micro-batches are accumulated, gradients are there while the next one is computed.
            for _ in range(2):
                inputs = trainer._prepare_inputs(copy.copy(batch))  # noqa: SLF001 - as its training step does
                with trainer.compute_loss_context_manager():
                    loss = trainer.compute_loss(trainer.model, inputs)
                trainer.accelerator.backward(loss)
            del state
    except torch.OutOfMemoryError:
        return False
    return True


@contextmanager
def _undone(trainer: Any) -> Iterator[None]:
    """Leave no trace of what is computed: no gradient, no drawn number, no figure.

    Figures are gathered from no other process meanwhile: one that runs out of memory would be waited for in vain.
    """
    import torch

    alone = {name: lambda figures, **_: figures for name in ("gather", "gather_for_metrics")}
    figures = {name: copy.deepcopy(getattr(trainer, name)) for name in ("_metrics", "_total_train_tokens")}
    if trainer.args.activation_checkpointing:
        # Else it begins with the first step.
        trainer.model.activation_checkpointing_enable(
            activation_checkpointing_kwargs=trainer.args.activation_checkpointing_kwargs
        )
    trainer.model.train()
    vars(trainer.accelerator).update(alone)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        trainer.model.zero_grad(set_to_none=True)
        vars(trainer).update(figures)
        for name in alone:
            delattr(trainer.accelerator, name)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _longest(table: Any, count: int) -> list[int]:
    """Return the places of the longest rows of a table of token ids; a pair is as long as its parts together."""
    columns = [name for name in table.column_names if name.endswith("_ids")]
    lengths = [sum(len(row[name]) for name in columns) for row in table]
    return sorted(range(len(lengths)), key=lambda place: -lengths[place])[:count]
