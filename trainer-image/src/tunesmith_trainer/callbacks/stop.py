"""SIGTERM on any node: all ranks agree, save the step they are at and end."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.collectives import any_rank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

    from tunesmith_trainer.exchange import Exchange

_log = logging.getLogger(__name__)


class EvaluationStopped(Exception):  # noqa: N818 - an order, not an error
    """Told to stop while evaluating between two steps: there is no step's end to wait for."""


class TrainingOver(Exception):  # noqa: N818 - an order, not an error
    """An evaluation that was made up for ends training: the Trainer looks for such an end after a step alone."""


class StopCallback(TrainerCallback):
    """Looks for the order to stop after every step, and after every batch of an evaluation between steps.

    After the last step it does so in an evaluation alone, and only where that step is not saved.

    Transformers' own `enable_jit_checkpoint` saves on the rank that got the signal alone, and hangs the others.

    Attributes:
        stopped: Whether the order came in time: the run ends with a checkpoint, not with its output.
        saved_step: The step that was saved last, or that training began at; -1 before it did.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._looks = False
        self.stopped = False
        self.saved_step = -1

    @override
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.saved_step = state.global_step

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._looks = True
        # What a run resumes from is saved already, with a random state that is not restored yet.
        self.saved_step = state.global_step

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # Where no save was due at the last step, an evaluation after it is looked at as well: else all would be lost.
        self._looks = self.saved_step != state.global_step

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step < state.max_steps and self._ordered(state):
            control.should_save = True
            control.should_evaluate = False
            control.should_training_stop = True
            # The epoch ends after the save, and a resumed run begins the next one.
            control.should_log |= args.logging_strategy == "epoch" and float(state.epoch or 0).is_integer()

    @override
    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.stopped:
            # The Trainer ends an epoch also where it breaks off; the step is saved already.
            control.should_log = control.should_evaluate = control.should_save = False

    @override
    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._looks and self._ordered(state):
            raise EvaluationStopped

    def _ordered(self, state: TrainerState) -> bool:
        self.stopped = any_rank(self._exchange.stop_ordered)
        if self.stopped and state.is_world_process_zero:
            _log.info("told to stop: saving step %d", state.global_step)
        return self.stopped


def train(trainer: Trainer, resumed: str | None, stop: StopCallback) -> None:
    """Train to the last step, or to where the run was told to stop, and save there."""
    with saved_where_stopped(trainer, stop):
        try:
            trainer.train(resume_from_checkpoint=resumed)
        except TrainingOver:
            trainer.is_in_train = False
            trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)


@contextmanager
def saved_where_stopped(trainer: Trainer, stop: StopCallback) -> Iterator[None]:
    """Save the step that an evaluation is stopped at, where it is not saved yet."""
    try:
        yield
    except EvaluationStopped:
        if stop.saved_step == trainer.state.global_step:
            return
        trainer._save_checkpoint(trainer.model, trial=None)  # noqa: SLF001 - the Trainer saves inside of its loop alone
        trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)
