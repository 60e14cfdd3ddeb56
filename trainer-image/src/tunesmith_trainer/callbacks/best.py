"""The best evaluated model: each new one is saved, and the last of them becomes the output."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.checkpoints import folder_name, is_whole
from tunesmith_trainer.collectives import from_first
from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

_PREFIX = "eval_"
_log = logging.getLogger(__name__)


class BestCallback(TrainerCallback):
    """Saves what evaluates better than all before; which that is, the Trainer's state keeps, also in checkpoints.

    The Trainer's own `load_best_model_at_end` looks for folders that we rename, and wants saves and evaluations at the
    same steps.
    """

    def __init__(self, checkpoints: Path) -> None:
        """Make a callback.

        Args:
            checkpoints: The folder of the run's checkpoints.
        """
        self._checkpoints = checkpoints

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.best_global_step is not None and not _is_there(self._checkpoints, state.best_global_step):
            # What can not be had any more must not keep others from becoming the best.
            state.best_global_step = state.best_metric = None

    @override
    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **_: Any,
    ) -> None:
        value, best = metrics[metric_name(args)], state.best_metric
        # The Trainer compares after this, and only then decides whether to save.
        if best is None:
            control.should_save |= math.isfinite(value)
        else:
            control.should_save |= value > best if args.greater_is_better else value < best


def metric_name(args: TrainingArguments) -> str:
    """Return the evaluated figure that tells which model is best, as it is logged."""
    name = str(args.metric_for_best_model)
    return name if name.startswith(_PREFIX) else _PREFIX + name


def require_metric(args: TrainingArguments, figures: Collection[str]) -> None:
    """Check that evaluations tell the figure that models are compared by.

    Raises:
        InvalidSpec: They do not.
    """
    if args.metric_for_best_model is None or metric_name(args) in figures:
        return
    known = ", ".join(sorted(figure.removeprefix(_PREFIX) for figure in figures if figure.startswith(_PREFIX)))
    raise InvalidSpec(
        f"spec.training.metricForBestModel: evaluations have no figure {args.metric_for_best_model}; they have {known}"
    )


def load_best(trainer: Trainer, checkpoints: Path) -> int | None:
    """Give the model the weights of the best checkpoint; return its step, None when nothing was evaluated.

    Raises:
        RuntimeError: The checkpoint is not whole any more.
    """
    step: int | None = trainer.state.best_global_step
    if step is None:
        _log.warning("no evaluation had a finite figure: the output is the last model")
        return None
    if step != trainer.state.global_step:
        if not _is_there(checkpoints, step):
            raise RuntimeError(f"the best checkpoint {folder_name(step)} is damaged; start the run again")
        trainer._load_from_checkpoint(str(checkpoints / folder_name(step)))  # noqa: SLF001 - as train() does to resume
    return step


def _is_there(checkpoints: Path, step: int) -> bool:
    """Return whether a checkpoint is whole: rank 0 looks, all take its word."""
    import torch.distributed as dist

    first = not dist.is_initialized() or dist.get_rank() == 0
    return bool(from_first(is_whole(checkpoints / folder_name(step)) if first else None))
