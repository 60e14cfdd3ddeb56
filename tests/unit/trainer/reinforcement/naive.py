"""Proximal policy optimisation once more: on lists of numbers, a completion at a time, straight from the papers.

Nothing here is vectorised, masked or padded, and nothing is shared with the trainer.
"""

import math
from collections.abc import Sequence

Numbers = Sequence[float]


def mean(numbers: Numbers) -> float:
    return sum(numbers) / len(numbers)


def variance(numbers: Numbers) -> float:
    return mean([(number - mean(numbers)) ** 2 for number in numbers])


def kl(policy: float, reference: float, estimator: str) -> float:
    """Schulman's estimators with r = p_reference / p_policy: k1 = -log r, k3 = r - 1 - log r."""
    ratio = math.exp(reference) / math.exp(policy)
    return -math.log(ratio) if estimator == "k1" else ratio - 1 - math.log(ratio)


def rewards(score: float, penalties: Numbers) -> list[float]:
    return [-penalty for penalty in penalties[:-1]] + [score - penalties[-1]]


def advantages(rewarded: Numbers, values: Numbers, gamma: float, lam: float) -> list[float]:
    """The sum over all later surprises, each weighted by (gamma lam)^distance, as in equation 16."""
    following = [*values[1:], 0.0]
    surprises = [
        reward + gamma * after - value for reward, after, value in zip(rewarded, following, values, strict=True)
    ]
    return [
        sum((gamma * lam) ** distance * surprise for distance, surprise in enumerate(surprises[start:]))
        for start in range(len(surprises))
    ]


def policy_loss(ratio: float, advantage: float, cliprange: float) -> float:
    """The pessimistic one of the two objectives of equation 7, with its sign turned."""
    bounded = min(max(ratio, 1 - cliprange), 1 + cliprange)
    return -min(ratio * advantage, bounded * advantage)


def value_loss(value: float, before: float, returned: float, cliprange: float) -> float:
    bounded = min(max(value, before - cliprange), before + cliprange)
    return max((value - returned) ** 2, (bounded - returned) ** 2) / 2
