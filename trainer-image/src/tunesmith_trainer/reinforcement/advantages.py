"""From the score of a whole completion to the advantage of each of its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.reinforcement.masked import Total, alone, masked_variance

if TYPE_CHECKING:
    from torch import Tensor


def token_rewards(scores: Tensor, penalties: Tensor, mask: Tensor) -> Tensor:
    """Return the reward of each token: what it costs, and at the last token of a completion its score.

    Args:
        scores: One per completion.
        penalties: What each token costs, such as its divergence from the reference.
        mask: Which tokens are the completion's; they follow each other.
    """
    import torch

    places = torch.arange(mask.shape[1], device=mask.device)
    last = (places * mask).argmax(dim=1, keepdim=True)
    return (-penalties * mask).scatter_add(1, last, scores[:, None])


def advantages(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Return how much better each token was than expected (GAE, Schulman et al. 2016, arXiv:1506.02438, eq. 16).

    After the last token of a completion nothing is to be had: what follows it is worth 0.

    Args:
        rewards: Reward of each token.
        values: Expected sum of the rewards from each token on.
        mask: Which tokens are the completion's; they follow each other.
        gamma: Discount of a reward that comes one token later.
        lam: Weight of what is measured against what is expected: 0 looks one token ahead, 1 to the end.
    """
    import torch

    result = torch.zeros_like(values)
    ahead = following = torch.zeros_like(values[:, 0])
    for place in reversed(range(values.shape[1])):
        here = mask[:, place]
        surprise = rewards[:, place] + gamma * following - values[:, place]
        ahead = (surprise + gamma * lam * ahead) * here
        following = values[:, place] * here
        result[:, place] = ahead
    return result


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, total: Total = alone) -> Tensor:
    """Return the share of the returns' variance that the values foretell: 1 is all, 0 is what a constant does.

    Returns that are all alike have no variance to explain: 0.

    Args:
        values: What was expected at each token.
        returns: What came of it.
        mask: Which tokens are a completion's.
        total: Sums over the processes.
    """
    import torch

    variance = masked_variance(returns, mask, total)
    left = masked_variance(returns - values, mask, total)
    return torch.where(variance > 0, 1 - left / variance, torch.zeros_like(variance))
