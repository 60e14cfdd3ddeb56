"""What a streamed run tells: what became of its rows, and what reading them again cost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.exchange import now

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tunesmith_trainer.data.feed import Progress

_log = logging.getLogger(__name__)


class StreamCallback(TrainerCallback):
    """Keeps the run's data report up to date while a stream is read."""

    def __init__(self, progress: Progress, report: dict[str, Any]) -> None:
        """Take what to tell of.

        Args:
            progress: How far the stream was read.
            report: The report of the rows to train on, which is filled.
        """
        self._progress = progress
        self._report = report
        self._begun: float | None = None

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._begun = now()

    @override
    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._begun is None:
            return
        seconds, self._begun = now() - self._begun, None
        if state.global_step > 0:
            self._report["readAgain"] = {"steps": state.global_step, "seconds": round(seconds, 1)}
            _log.info("read the rows of %d steps again in %.1f s", state.global_step, seconds)

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if args.dataloader_num_workers == 0:  # else other processes read the stream, and count for themselves
            self._report |= self._progress.counts.report()
