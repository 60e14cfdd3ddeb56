"""Makes every save of the Trainer a checkpoint that counts, and a resumed run log what an undisturbed one would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.collectives import barrier, mean

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

    from tunesmith_trainer.checkpoints import CheckpointWriter
    from tunesmith_trainer.reporter import Reporter

_LOG_FILE = "unlogged-loss.json"


class CheckpointCallback(TrainerCallback):
    """Commits what the Trainer has saved; rank 0 has the writer, the others wait until their part is written.

    The Trainer forgets the loss of the steps since it last logged when a run stops between two logs. It is saved with
    the checkpoint and restored: else the first figure after a resume would be the mean over fewer steps.
    """

    def __init__(
        self, trainer: Trainer, writer: CheckpointWriter | None, reporter: Reporter, resumed: Path | None
    ) -> None:
        self._trainer = trainer
        self._writer = writer
        self._reporter = reporter
        self._resumed = resumed

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._resumed is None:
            return
        saved = json.loads((self._resumed / _LOG_FILE).read_text(encoding="utf-8"))
        self._trainer._tr_loss += saved["loss"]  # noqa: SLF001 - the Trainer has no other door to it
        self._trainer._globalstep_last_logged = saved["lastLoggedStep"]  # noqa: SLF001 - see above

    @override
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        saved = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        loss = mean(float(self._trainer._tr_loss))  # noqa: SLF001 - see on_train_begin
        if self._writer:
            last = self._trainer._globalstep_last_logged  # noqa: SLF001 - see on_train_begin
            text = json.dumps({"loss": loss, "lastLoggedStep": last})
            (saved / _LOG_FILE).write_text(text, encoding="utf-8")
        # Every rank has written its random state into the folder after this.
        barrier()
        if self._writer:
            # Where saves follow each other faster than they are committed, none is over when a step begins.
            self._writer.wait()
            self._reporter.saved(self._writer.steps())
            self._writer.commit(saved, state.global_step, state.best_global_step)

    @override
    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # The step may be saved once more, as the best, into the folder that is on its way to where it counts.
        if self._writer:
            self._writer.wait()
            self._reporter.saved(self._writer.steps())
        barrier()

    @override
    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._writer and self._writer.settle():
            self._reporter.saved(self._writer.steps())
