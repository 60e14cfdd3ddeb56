"""The metric history as JSON lines in the run's folder, while it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.manifests import write_atomically
from tunesmith_trainer.report.history import history, json_lines

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tunesmith_trainer.fence import Fence


class HistoryCallback(TrainerCallback):
    """Appends every log to a file; a resumed run first drops what it will log again. Rank 0 has one."""

    def __init__(self, path: Path, fence: Fence, initial: dict[str, float]) -> None:
        """Make one.

        Args:
            path: The file.
            fence: Asked before anything is written.
            initial: Figures of the evaluation before the first step.
        """
        self._path = path
        self._fence = fence
        self._initial = initial

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._fence.check()
        write_atomically(self._path, json_lines(history(self._initial, state.log_history)))

    @override
    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._fence.check()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json_lines(state.log_history[-1:]))
