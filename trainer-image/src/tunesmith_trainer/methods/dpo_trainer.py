"""trl.DPOTrainer on rows that are token ids already, with the spec's optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_model, save_model
from trl import DPOTrainer
from typing_extensions import override

from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.optimizers.trainer import SpecTrainer

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import nn

REFERENCE_FILE = "reference.safetensors"


class PreparedDPOTrainer(SpecTrainer, DPOTrainer):
    """A DPOTrainer that leaves its rows as they are; TRL 1.16 can be told so by overriding alone.

    What the reference says of the rows ahead of training is asked of the model as it is trained, with its adapter put
    right. And a reference that follows the model is part of the checkpoints: TRL begins with the first one again.
    """

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

    @override
    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    @override
    def _precompute_ref_logps(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset  # `_compared` does it, later; TRL's goes through a file that only rank 0 can see

    def _compared(self, rows: Dataset, batch_size: int) -> Dataset:
        """Return rows with the log-probabilities that the reference gives their answers."""
        import torch
        from torch.utils.data import DataLoader

        loader = DataLoader(
            rows, self.args.precompute_ref_batch_size or batch_size, shuffle=False, collate_fn=self.data_collator
        )
        found = [
            self.accelerator.gather_for_metrics(self.compute_ref_log_probs(self.ref_model or self.model, batch))
            for batch in self.accelerator.prepare(loader)
        ]
        for name, parts in zip(("ref_chosen_logps", "ref_rejected_logps"), zip(*found, strict=True), strict=True):
            rows = rows.add_column(name, torch.cat(parts).float().cpu().numpy())
        return rows

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
