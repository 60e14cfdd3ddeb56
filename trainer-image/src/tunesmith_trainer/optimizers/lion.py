"""Lion: steps of one size, in the direction of the sign of a momentum (Chen et al. 2023, arXiv:2302.06675)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Lion(Optimizer):
    """Algorithm 2 of the paper, with decoupled weight decay.

    Half of AdamW's memory. The paper's learning rates are 3 to 10 times smaller than AdamW's, its weight decay as much
    larger.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        """Make an optimiser.

        Args:
            params: Parameters, or groups of them.
            lr: Learning rate, the size of every step.
            betas: Decay of the momentum as it enters a step, and as it is kept.
            weight_decay: Weight decay, decoupled.
        """
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @override
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, **{key: group[key] for key in ("lr", "betas", "weight_decay")})
        return loss

    def _step(self, parameter: Any, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        with torch.no_grad():
            parameter.mul_(1 - lr * weight_decay)
            parameter.add_(momentum.lerp(parameter.grad, 1 - betas[0]).sign_(), alpha=-lr)
            momentum.lerp_(parameter.grad, 1 - betas[1])
