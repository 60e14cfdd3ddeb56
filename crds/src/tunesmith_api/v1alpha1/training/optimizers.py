"""Optimisers, and which of their arguments each one takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule

Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "adam",
    "sgd",
    "adafactor",
    "lion",
    "sophia",
    "muon",
]
DEFAULT_OPTIMIZER: Optimizer = "adamw_torch_fused"
BITSANDBYTES_OPTIMIZERS: frozenset[str] = frozenset({"adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"})
"""Kept in CUDA's unified memory, or quantised by CUDA's kernels: for NVIDIA GPUs alone."""

_ADAM: Mapping[str, Any] = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
OPTIMIZER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "adamw_torch": _ADAM,
    "adamw_torch_fused": _ADAM,
    "adamw_8bit": _ADAM,
    "paged_adamw_32bit": _ADAM,
    "paged_adamw_8bit": _ADAM,
    "adam": _ADAM,
    "sgd": {"momentum": 0.0, "nesterov": False},
    "adafactor": {"beta1": None, "epsilon": 1e-30, "decay_rate": -0.8, "clip_threshold": 1.0},
    "lion": {"beta1": 0.9, "beta2": 0.99},
    "sophia": {"beta1": 0.96, "beta2": 0.99, "epsilon": 1e-12, "rho": 0.05, "estimation_interval": 10},
    "muon": {**_ADAM, "momentum": 0.95, "nesterov": True, "ns_steps": 5},
}
"""The arguments of each optimiser, with their defaults; None: absent unless set."""

_Beta = Annotated[float | None, Field(ge=0, lt=1)]


class OptimArgs(ApiModel):
    """Arguments of the optimiser; each is for the optimisers its description names."""

    beta1: Annotated[
        _Beta,
        Field(
            description="Decay of the running mean of gradients. Default: 0.9 for AdamW, Adam, Lion and the AdamW part"
            " of Muon, 0.96 for Sophia; Adafactor keeps no mean unless it is set."
        ),
    ] = None
    beta2: Annotated[
        _Beta,
        Field(
            description="Decay of the running mean of squared gradients (Lion: of the momentum; Sophia: of the"
            " curvature). Default: 0.999 for AdamW, Adam and the AdamW part of Muon, 0.99 for Lion and Sophia."
        ),
    ] = None
    epsilon: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="Smallest divisor. Default: 1e-8 for AdamW, Adam and the AdamW part of Muon, 1e-12 for Sophia,"
            " 1e-30 (added to squared gradients) for Adafactor.",
        ),
    ] = None
    momentum: Annotated[
        float | None,
        Field(ge=0, lt=1, description="Momentum of SGD and Muon. Default: 0 for SGD, 0.95 for Muon."),
    ] = None
    nesterov: Annotated[
        bool | None,
        Field(description="Nesterov momentum of SGD and Muon. Default: false for SGD, true for Muon."),
    ] = None
    ns_steps: Annotated[
        int | None,
        Field(ge=1, le=50, description="Newton-Schulz iterations that orthogonalise an update of Muon. Default: 5."),
    ] = None
    decay_rate: Annotated[
        float | None,
        Field(
            ge=-1,
            lt=0,
            description="Exponent of Adafactor: at step t squared gradients decay by 1 - t to this power."
            " Default: -0.8.",
        ),
    ] = None
    clip_threshold: Annotated[
        float | None,
        Field(gt=0, le=1e6, description="Largest root mean square of an update of Adafactor. Default: 1."),
    ] = None
    rho: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e6,
            description="Sophia's gamma: the curvature is multiplied by it before it divides the momentum, and the"
            " quotient is clipped to 1. Smaller clips more. Default: 0.05.",
        ),
    ] = None
    estimation_interval: Annotated[
        int | None,
        Field(
            ge=1, le=100_000, description="Optimiser steps between two of Sophia's estimates of curvature. Default: 10."
        ),
    ] = None


_CHOSEN = f"(has(self.optim) ? self.optim : '{DEFAULT_OPTIMIZER}')"


def _belongs(name: str) -> Rule:
    """Return the rule that an argument is set only for the optimisers that take it."""
    field = OptimArgs.model_fields[name].alias
    takers = [optimizer for optimizer, arguments in OPTIMIZER_DEFAULTS.items() if name in arguments]
    return Rule(
        f"!has(self.optimArgs) || !has(self.optimArgs.{field}) || {_CHOSEN} in {takers}",
        f"{field} is an argument of {', '.join(takers)}: remove it, or choose one of these as optim",
        f".optimArgs.{field}",
    )


OPTIMIZER_RULES = (
    *(_belongs(name) for name in OptimArgs.model_fields),
    Rule(
        f"!has(self.optimArgs) || !has(self.optimArgs.nesterov) || !self.optimArgs.nesterov || {_CHOSEN} != 'sgd'"
        " || (has(self.optimArgs.momentum) && self.optimArgs.momentum > 0.0)",
        "nesterov needs momentum: set momentum, such as 0.9",
        ".optimArgs.nesterov",
    ),
)
