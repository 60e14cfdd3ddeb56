"""A few steps under torch's profiler: where their time goes, operator by operator."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tunesmith_api.v1alpha1.reporting import StepRange
    from tunesmith_trainer.callbacks.reporting import Watched

TRACE_FILE = "trace.json.gz"
TABLE_FILE = "operators.txt"
_ROWS = 60
_log = logging.getLogger(__name__)


class ProfileCallback(TrainerCallback):
    """Profiles rank 0, and writes a Chrome trace and a table of operators to a folder of the run."""

    def __init__(self, steps: StepRange, folder: Path, watched: Watched) -> None:
        self._steps = steps
        self._folder = folder
        self._watched = watched
        self._profiler: Any = None

    @override
    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._profiler is None and state.global_step + 1 == self._steps.start_step:
            from torch.profiler import profile

            self._profiler = profile(record_shapes=True, profile_memory=True)
            self._profiler.start()

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._profiler is not None and state.global_step >= self._steps.last_step:
            self._write(args)

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._profiler is not None:
            self._write(args)
        elif state.global_step < self._steps.start_step:
            _log.warning("nothing was profiled: the run ended before step %d", self._steps.start_step)

    def _write(self, args: TrainingArguments) -> None:
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        self._watched.fence.check()
        self._folder.mkdir(exist_ok=True)
        profiler.export_chrome_trace(str(self._folder / TRACE_FILE))
        order = "self_cpu_time_total" if args.device.type == "cpu" else "self_device_time_total"
        table = profiler.key_averages().table(sort_by=order, row_limit=_ROWS, max_name_column_width=80)
        (self._folder / TABLE_FILE).write_text(table + "\n", encoding="utf-8")
        _log.info("the profile is in %s", self._folder)
