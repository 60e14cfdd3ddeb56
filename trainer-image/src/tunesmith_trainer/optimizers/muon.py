"""Muon for the matrices of hidden layers, AdamW for all else, as one optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from typing_extensions import override

from tunesmith_trainer.models.adapters.modules import output_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.nn import Parameter

_EMBEDDING_ADAPTER = "lora_embedding"


def hidden_matrices(model: Any) -> Iterator[Parameter]:
    """Yield the trained matrices that Muon is made for: neither embeddings nor the output head (Jordan et al. 2024)."""
    head = output_head(model)
    layers = [module for module in model.modules() if module is head or isinstance(module, nn.Embedding)]
    outer = {parameter for layer in layers for parameter in layer.parameters()}
    for name, parameter in model.named_parameters():
        # One of a single row, such as the head of a value model, is a vector.
        matrix = parameter.requires_grad and parameter.ndim == 2 and min(parameter.shape) > 1  # noqa: PLR2004
        if matrix and parameter not in outer and _EMBEDDING_ADAPTER not in name:
            yield parameter


class MuonWithAdamW(Optimizer):
    """torch.optim.Muon for some groups of parameters and AdamW for the others.

    An update of Muon is scaled to the root mean square of one of AdamW (Liu et al. 2025, arXiv:2502.16982), so that one
    learning rate and one weight decay serve both. Groups and state are those of the two, seen as one: whatever a
    schedule or a checkpoint does to them reaches both.
    """

    def __init__(
        self,
        matrices: list[dict[str, Any]],
        others: list[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        """Make an optimiser.

        Args:
            matrices: Groups of matrices, for Muon.
            others: Groups of all other parameters, for AdamW.
            lr: Learning rate.
            momentum: Momentum of Muon.
            nesterov: Whether it is Nesterov's.
            ns_steps: Newton-Schulz iterations.
            betas: Decays of AdamW's means.
            eps: Smallest divisor of AdamW.
        """
        self._parts: list[Optimizer] = []
        if matrices:
            scale = "match_rms_adamw"
            self._parts.append(
                Muon(matrices, lr=lr, momentum=momentum, nesterov=nesterov, ns_steps=ns_steps, adjust_lr_fn=scale)
            )
        if others:
            self._parts.append(AdamW(others, lr=lr, betas=betas, eps=eps, fused=True))
        super().__init__([group for part in self._parts for group in part.param_groups], {"lr": lr})
        self._share()

    def _share(self) -> None:
        """Let the parts have our groups and our state; they name their parameters, so that they do not meet."""
        start = 0
        for part in self._parts:
            end = start + len(part.param_groups)
            part.param_groups = self.param_groups[start:end]
            part.state = self.state
            start = end

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @override
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None if closure is None else closure()
        for part in self._parts:
            part.step()
        return loss
