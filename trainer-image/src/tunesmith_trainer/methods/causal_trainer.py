"""trl.SFTTrainer on packed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trl import SFTTrainer
from typing_extensions import override

from tunesmith_trainer.data.packing import real_tokens

if TYPE_CHECKING:
    import torch


class CausalTrainer(SFTTrainer):
    """An SFTTrainer that counts the tokens of packed rows; TRL takes a batch without attention mask for one row."""

    _total_train_tokens: int

    @override
    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        before = self._total_train_tokens
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if self.model.training and "attention_mask" not in inputs:
            counted = self.accelerator.gather_for_metrics(real_tokens(inputs["position_ids"])).sum()
            self._total_train_tokens = before + int(counted)
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return loss
