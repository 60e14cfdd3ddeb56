"""What TRL's trainers share that compare with a reference model, beside the spec's optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from safetensors.torch import load_model, save_model
from typing_extensions import override

from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.optimizers.trainer import SpecTrainer

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import nn

REFERENCE_FILE = "reference.safetensors"


class ReferenceTrainer(SpecTrainer):
    """Comes before a TRL trainer that has a reference; it leaves rows as they are, which are token ids already.

    What the reference says of the rows ahead of training is asked of the model as it is trained, with its adapter put
    right. And a reference that follows the model is part of the checkpoints: TRL begins with the first one again.
    """

    reference_columns: ClassVar[tuple[str, ...]]
    """The columns that TRL's loss reads what the reference says from."""

    train_dataset: Any
    eval_dataset: Any
    ref_model: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a trainer; see `SpecTrainer`."""
        super().__init__(*args, **kwargs)
        settle_adapter(self.model)
        use_plain_head(self)
        if self.precompute_ref_logps:
            self.train_dataset = self._compared(self.train_dataset, self.args.per_device_train_batch_size)
            if self.eval_dataset is not None:
                self.eval_dataset = self._compared(self.eval_dataset, self.args.per_device_eval_batch_size)
            self.ref_model = None  # it has said everything

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset  # TRL 1.16 can be told so by overriding alone

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset  # `_compared` does it, later; TRL's goes through a file that only rank 0 can see

    def _compared(self, rows: Dataset, batch_size: int) -> Dataset:
        """Return rows with the log-probabilities that the reference gives their answers."""
        import torch
        from torch.utils.data import DataLoader

        loader = DataLoader(
            rows, self.args.precompute_ref_batch_size or batch_size, shuffle=False, collate_fn=self.data_collator
        )
        found = [self._asked(batch) for batch in self.accelerator.prepare(loader)]
        # The loss may do without the last of the columns.
        for name, parts in zip(self.reference_columns, zip(*found, strict=True), strict=False):
            rows = rows.add_column(name, torch.cat(parts).float().cpu().numpy())
        return rows

    def _asked(self, batch: dict[str, Any]) -> tuple[Any, ...]:
        """Return what the reference says of a batch, of those of all processes."""
        said = self.compute_ref_log_probs(self.ref_model or self.model, batch)
        gathered: tuple[Any, ...] = self.accelerator.gather_for_metrics(
            tuple(each for each in said if each is not None)
        )
        return gathered

    @override
    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.sync_ref_model and self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
            save_model(self.ref_model, str(folder / REFERENCE_FILE))

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.args.sync_ref_model:
            load_model(self.ref_model, Path(resume_from_checkpoint, REFERENCE_FILE))
