"""Tells steps, figures and heartbeats, and logs a line a person can read."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_api.figures import is_headline, ranked

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tunesmith_trainer.reporter import Reporter

_MOST_SHOWN = 8
_FINITE = frozenset({"loss", "eval_loss", "grad_norm"})
"""Figures that only a training that diverged has no number for; a reward may have none for other reasons."""
# Of the Trainer's figures, those that say nothing about the model, or what progress has fields of its own for.
_UNTOLD = frozenset({"epoch", "total_flos", "train_loss"})
_UNTOLD_ENDS = ("_runtime", "samples_per_second", "steps_per_second", "_preparation_time")
_log = logging.getLogger(__name__)


def told_figures(logs: dict[str, Any]) -> dict[str, float]:
    """Return the figures that a reader of the job's status can use."""
    return {
        name: float(value)
        for name, value in logs.items()
        if isinstance(value, int | float) and name not in _UNTOLD and not name.endswith(_UNTOLD_ENDS)
    }


class ProgressCallback(TrainerCallback):
    """Feeds the reporter."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._trains = False

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._reporter.set(current_step=state.global_step, total_steps=state.max_steps, epoch=state.epoch or 0.0)

    @override
    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._reporter.beat()

    @override
    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._reporter.beat()

    @override
    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._reporter.beat()

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not self._trains:
            # Up to the end of the first step counts as start-up: it compiles, allocates and fills caches.
            self._trains = True
            self._reporter.enter("training", "training")
        self._reporter.step(state.global_step, state.max_steps, state.epoch or 0.0)

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        figures = told_figures(logs or {})
        self._reporter.metrics(figures)
        if state.is_world_process_zero:
            _write(state, figures)


def _write(state: TrainerState, figures: dict[str, float]) -> None:
    names = [name for name in ranked(figures) if is_headline(name)]
    shown = ", ".join(f"{name} {figures[name]:.4g}" for name in names[:_MOST_SHOWN])
    if shown:
        _log.info("step %d/%d: %s", state.global_step, state.max_steps, shown)
    strange = [name for name, value in figures.items() if name in _FINITE and not math.isfinite(value)]
    if strange:
        _log.warning("step %d: %s is not a finite number: training may have diverged", state.global_step, strange)
