"""Sophia-G: a momentum divided by an estimate of the curvature, and clipped (Liu et al. 2023, arXiv:2305.14342)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Sophia(Optimizer):
    """Algorithm 3 of the paper. Its curvature is the Gauss-Newton-Bartlett estimate, algorithm 2, told by `observe`.

    Until the first estimate every element moves by the learning rate, as with a sign.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        betas: tuple[float, float] = (0.96, 0.99),
        rho: float = 0.05,
        eps: float = 1e-12,
        weight_decay: float = 0.0,
    ) -> None:
        """Make an optimiser.

        Args:
            params: Parameters, or groups of them.
            lr: Learning rate, the largest step of an element.
            betas: Decay of the momentum, and of the curvature from one estimate to the next.
            rho: The paper's gamma, which multiplies the curvature.
            eps: Smallest divisor.
            weight_decay: Weight decay, decoupled.
        """
        defaults = {"lr": lr, "betas": betas, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def observe(self, tokens: float) -> None:
        """Take over an estimate of the curvature.

        With ĝ the gradient of the mean loss of `tokens` tokens towards labels drawn from the model itself, the
        estimate is `tokens` · ĝ². Here the gradients are those of the sum, so that it is their square over `tokens`.

        Args:
            tokens: Number of tokens whose losses were summed; their gradients are in the parameters' `grad`.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    estimate = parameter.grad.square() / tokens
                    self._state(parameter)["curvature"].lerp_(estimate, 1 - group["betas"][1])

    @override
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)
        return loss

    def _step(self, parameter: Any, group: dict[str, Any]) -> None:
        state = self._state(parameter)
        momentum = state["momentum"].lerp_(parameter.grad, 1 - group["betas"][0])
        divisor = (group["rho"] * state["curvature"]).clamp_(min=group["eps"])
        with torch.no_grad():
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_((momentum / divisor).clamp_(-1, 1), alpha=-group["lr"])

    def _state(self, parameter: Any) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
            state["curvature"] = torch.zeros_like(parameter)
        return state
