"""The clipped losses of proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), per token."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Clipped(NamedTuple):
    """A loss that does not reward going far at once.

    Attributes:
        loss: The loss of each token.
        clipped: At which tokens the bound was the one that counted.
    """

    loss: Tensor
    clipped: Tensor


def policy_loss(ratio: Tensor, advantages: Tensor, cliprange: float) -> Clipped:
    """Return the loss of a policy that makes good tokens likelier, up to a bound (eq. 7).

    Args:
        ratio: Probability of each token now, over the one it was drawn with.
        advantages: How much better than expected it was.
        cliprange: How far from 1 the ratio may go before nothing more is to be gained.
    """
    import torch

    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return Clipped(torch.maximum(plain, bounded), bounded > plain)


def value_loss(values: Tensor, before: Tensor, returns: Tensor, cliprange: float) -> Clipped:
    """Return half the squared error of a value function that stays near what it was (eq. 9, clipped as in TRL's).

    Args:
        values: What is expected at each token now.
        before: What was expected when the rollout was drawn.
        returns: What came of it.
        cliprange: How far from `before` a value may go before nothing more is to be gained.
    """
    import torch

    plain = (values - returns) ** 2
    bounded = (before + (values - before).clamp(-cliprange, cliprange) - returns) ** 2
    return Clipped(torch.maximum(plain, bounded) / 2, bounded > plain)
