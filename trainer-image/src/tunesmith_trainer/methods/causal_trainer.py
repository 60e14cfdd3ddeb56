"""trl.SFTTrainer with the spec's optimiser, on packed rows too."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from trl import SFTTrainer
from typing_extensions import override

from tunesmith_trainer.data.encode import IGNORED
from tunesmith_trainer.data.packing import real_tokens
from tunesmith_trainer.optimizers.sophia import Sophia
from tunesmith_trainer.optimizers.trainer import SpecTrainer

if TYPE_CHECKING:
    import torch
    from torch import nn


class CausalTrainer(SpecTrainer, SFTTrainer):
    """An SFTTrainer that counts the tokens of packed rows; TRL takes a batch without attention mask for one row.

    It tells Sophia the curvature, whose estimate needs the model's own next tokens.
    """

    _total_train_tokens: int
    _estimated_at = -1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a trainer; see `SpecTrainer`."""
        with warnings.catch_warnings():
            # That TRL 2 will have no label smoothing concerns us, not who reads the pod's log.
            warnings.filterwarnings("ignore", "`label_smoothing_factor` is deprecated", FutureWarning)
            super().__init__(*args, **kwargs)

    @override
    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        before = self._total_train_tokens
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if self.model.training and "attention_mask" not in inputs:
            counted = self.accelerator.gather_for_metrics(real_tokens(inputs["position_ids"])).sum()
            self._total_train_tokens = before + int(counted)
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return loss

    @override
    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        sophia = getattr(self.optimizer, "optimizer", self.optimizer)
        if isinstance(sophia, Sophia) and self._estimate_is_due():
            self._estimate_curvature(model, sophia, self._prepare_inputs(inputs))
        return super().training_step(model, inputs, *args, **kwargs)

    def _estimate_is_due(self) -> bool:
        """Return whether this is the first micro-batch of a step before which the curvature is estimated."""
        arguments, step = self.spec.optim_args, self.state.global_step
        interval = (arguments and arguments.estimation_interval) or 1
        if step % interval or step == self._estimated_at:
            return False
        self._estimated_at = step
        return True

    def _estimate_curvature(self, model: nn.Module, sophia: Sophia, inputs: dict[str, Any]) -> None:
        """Tell Sophia the gradients of the loss towards labels that are drawn from the model (algorithm 2)."""
        import torch
        from torch.nn.functional import cross_entropy

        model.train()
        scored = inputs["labels"][:, 1:] != IGNORED
        given = {name: value for name, value in inputs.items() if name != "labels"}
        with self.accelerator.no_sync(model):
            logits = model(**given, use_cache=False).logits[:, :-1][scored].float()
            drawn = torch.multinomial(logits.detach().softmax(-1), 1)[:, 0]
            cross_entropy(logits, drawn, reduction="sum").backward()
        tokens = float(self.accelerator.reduce(scored.sum(), reduction="sum"))
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad = self.accelerator.reduce(parameter.grad, reduction="sum")
        if tokens:
            sophia.observe(tokens)
        model.zero_grad()
