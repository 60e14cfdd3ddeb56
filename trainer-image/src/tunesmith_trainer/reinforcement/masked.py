"""Figures over the tokens of completions alone; of a batch's rows, each has its own length."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Total = Callable[["Tensor"], "Tensor"]
"""Sums a tensor over all processes."""

_SMALLEST = 1e-8  # added to a variance before it divides


def alone(values: Tensor) -> Tensor:
    """Return the sum over the processes where there is one."""
    return values


def masked_mean(values: Tensor, mask: Tensor, total: Total = alone) -> Tensor:
    """Return the mean of the values where the mask is true, over all processes.

    Args:
        values: One value per token.
        mask: Which of them count; where none does, the mean is 0.
        total: Sums over the processes.
    """
    import torch

    count, whole = total(torch.stack((mask.sum().to(values.dtype), (values * mask).sum())))
    return whole / count.clamp(min=1)


def masked_variance(values: Tensor, mask: Tensor, total: Total = alone) -> Tensor:
    """Return the variance of the values where the mask is true, over all processes; see `masked_mean`."""
    return masked_mean((values - masked_mean(values, mask, total)) ** 2, mask, total)


def whiten(values: Tensor, mask: Tensor, *, shifts_mean: bool = True, total: Total = alone) -> Tensor:
    """Return the values scaled to a variance of 1, and 0 where the mask is false.

    Args:
        values: One value per token.
        mask: Which of them count.
        shifts_mean: Whether their mean becomes 0; else it stays.
        total: Sums over the processes, so that all scale alike.
    """
    mean = masked_mean(values, mask, total)
    scaled = (values - mean) * (masked_variance(values, mask, total) + _SMALLEST).rsqrt()
    return (scaled if shifts_mean else scaled + mean) * mask
