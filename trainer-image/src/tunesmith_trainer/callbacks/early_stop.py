"""Early stopping that a resumed run goes on with, and whose last step is a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import EarlyStoppingCallback
from typing_extensions import override

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

    from tunesmith_api.v1alpha1.early_stopping import EarlyStopping

_METRIC = "loss"
_COUNTER = "early_stopping_patience_counter"
_STOPPED = "stopped"


class EarlyStopCallback(EarlyStoppingCallback):
    """Transformers' own, which by itself begins to count anew after a resume and saves nothing where it stops.

    Transformers' `restore_callback_states_from_checkpoint` would restore its state by making every stateful callback
    anew, and would restore an order to stop as well.
    """

    def __init__(self, patience: int, threshold: float) -> None:
        super().__init__(early_stopping_patience=patience, early_stopping_threshold=threshold)
        self.stopped = False

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        super().on_train_begin(args, state, control)
        self.early_stopping_patience_counter = _attributes(state).get(_COUNTER, 0)

    @override
    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        super().on_evaluate(args, state, control, metrics or {})
        if control.should_training_stop:
            self.stopped = True
            control.should_save = True

    @override
    def state(self) -> dict[str, Any]:
        saved: dict[str, Any] = super().state()
        saved["attributes"][_STOPPED] = self.stopped
        return saved


def add_early_stop(trainer: Trainer, spec: EarlyStopping) -> None:
    """Let a trainer stop when the metric of the best model gets no better."""
    if trainer.args.metric_for_best_model is None:
        trainer.args.metric_for_best_model, trainer.args.greater_is_better = _METRIC, False
    trainer.add_callback(EarlyStopCallback(spec.patience, spec.threshold))


def stopped_early(state: TrainerState) -> bool:
    """Return whether a checkpoint's state is that of a run which early stopping ended."""
    return bool(_attributes(state).get(_STOPPED))


def _attributes(state: TrainerState) -> dict[str, Any]:
    saved = (state.stateful_callbacks or {}).get(EarlyStopCallback.__name__) or {}
    attributes: dict[str, Any] = saved.get("attributes", {})
    return attributes
