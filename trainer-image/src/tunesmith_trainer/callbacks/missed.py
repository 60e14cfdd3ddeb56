"""The evaluation that an order to stop left out, made up for before training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.callbacks.stop import TrainingOver

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

_LOSS = "eval_loss"


class MissedEvaluationCallback(TrainerCallback):
    """Evaluates at the step that a run resumes from, where that was due and is missing from the log.

    Else the best model could be missed, and a schedule that looks at evaluations would go another way.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Make a callback.

        Args:
            trainer: The trainer, for its evaluation inside of training.
        """
        self._trainer = trainer

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.make_up(args, state) and control.should_training_stop:
            raise TrainingOver

    def make_up(self, args: TrainingArguments, state: TrainerState) -> bool:
        """Evaluate where that was due and is missing; return whether it was."""
        known = any(_LOSS in entry and entry["step"] == state.global_step for entry in state.log_history)
        missed = state.global_step > 0 and _is_due(args, state) and not known
        if missed:
            metrics = self._trainer._evaluate(None, None)  # noqa: SLF001 - what the Trainer does between two steps
            self._trainer._determine_best_metric(metrics=metrics, trial=None)  # noqa: SLF001 - see above
        return missed


def _is_due(args: TrainingArguments, state: TrainerState) -> bool:
    if args.eval_strategy == "steps":
        return bool(state.global_step % state.eval_steps == 0 and args.eval_delay <= state.global_step)
    return bool(args.eval_strategy == "epoch" and args.eval_delay <= state.epoch and float(state.epoch).is_integer())
