"""The mathematics of PPO equals an independent computation, on completions of different lengths."""

import math
import random
from typing import Any

import naive
import pytest
import torch

from tunesmith_trainer.reinforcement.advantages import advantages, explained_variance, token_rewards
from tunesmith_trainer.reinforcement.divergence import divergence
from tunesmith_trainer.reinforcement.losses import policy_loss, value_loss
from tunesmith_trainer.reinforcement.masked import masked_mean, masked_variance, whiten

# Where a completion begins in the padded rows, and how many tokens it has.
SHAPES = ((0, 5), (2, 4), (1, 1), (0, 3))
WIDTH = 6
Row = list[float]


@pytest.fixture
def draw() -> random.Random:
    return random.Random(7)


def numbers(draw: random.Random, low: float = -2.0, high: float = 2.0) -> list[Row]:
    """One number for each token of each completion."""
    return [[draw.uniform(low, high) for _ in range(count)] for _, count in SHAPES]


def padded(rows: list[Row], padding: float = 9e3) -> torch.Tensor:
    """The rows at their places, with what must not matter around them."""
    whole = [
        [padding] * start + row + [padding] * (WIDTH - start - len(row))
        for (start, _), row in zip(SHAPES, rows, strict=True)
    ]
    return torch.tensor(whole, dtype=torch.float64)


MASK = torch.tensor([[start <= place < start + count for place in range(WIDTH)] for start, count in SHAPES])


def flat(rows: list[Row]) -> Row:
    return [number for row in rows for number in row]


def at_tokens(values: torch.Tensor) -> list[float]:
    numbers: list[float] = values[MASK].tolist()
    return numbers


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_divergences(draw: random.Random, estimator: Any) -> None:
    policy, reference = numbers(draw, -4, 0), numbers(draw, -4, 0)
    found = divergence(padded(policy), padded(reference), estimator)
    wanted = [naive.kl(one, other, estimator) for one, other in zip(flat(policy), flat(reference), strict=True)]
    assert at_tokens(found) == pytest.approx(wanted)
    assert estimator == "k1" or min(at_tokens(found)) >= 0


def test_both_estimators_have_the_divergence_as_their_mean() -> None:
    """Over all tokens, each as often as the policy draws it, they are the divergence by its definition."""
    policy, reference = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.2, 0.2, 0.6]).log()
    exact = (policy.exp() * (policy - reference)).sum()
    for estimator in ("k1", "k3"):
        expected = (policy.exp() * divergence(policy, reference, estimator)).sum()
        assert float(expected) == pytest.approx(float(exact), rel=1e-5)


def test_the_score_is_had_at_the_last_token(draw: random.Random) -> None:
    scores, penalties = [draw.uniform(-1, 1) for _ in SHAPES], numbers(draw)
    found = token_rewards(torch.tensor(scores, dtype=torch.float64), padded(penalties), MASK)
    wanted = [naive.rewards(score, row) for score, row in zip(scores, penalties, strict=True)]
    assert at_tokens(found) == pytest.approx(flat(wanted))
    assert not found[~MASK].any()


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (0.7, 0.0), (0.0, 0.5)])
def test_advantages(draw: random.Random, gamma: float, lam: float) -> None:
    rewarded, values = numbers(draw), numbers(draw)
    found = advantages(padded(rewarded), padded(values), MASK, gamma=gamma, lam=lam)
    wanted = [naive.advantages(row, value, gamma, lam) for row, value in zip(rewarded, values, strict=True)]
    assert at_tokens(found) == pytest.approx(flat(wanted))
    assert not found[~MASK].any()


def test_to_look_to_the_end_is_to_measure(draw: random.Random) -> None:
    """With lambda 1 and nothing discounted, advantage and value add up to the sum of the rewards to come."""
    rewarded, values = padded(numbers(draw)), padded(numbers(draw))
    found = advantages(rewarded, values, MASK, gamma=1.0, lam=1.0) + values
    to_come = (rewarded * MASK).flip(1).cumsum(1).flip(1)
    assert at_tokens(found) == pytest.approx(at_tokens(to_come))


@pytest.mark.parametrize("cliprange", [0.1, 0.2, 0.5])
def test_clipped_losses(draw: random.Random, cliprange: float) -> None:
    ratios, gained = numbers(draw, 0.3, 2.0), numbers(draw)
    found = policy_loss(padded(ratios), padded(gained), cliprange)
    wanted = [naive.policy_loss(one, other, cliprange) for one, other in zip(flat(ratios), flat(gained), strict=True)]
    assert at_tokens(found.loss) == pytest.approx(wanted)
    plain = [-one * other for one, other in zip(flat(ratios), flat(gained), strict=True)]
    assert at_tokens(found.clipped) == [loss > free + 1e-12 for loss, free in zip(wanted, plain, strict=True)]
    assert 0 < sum(at_tokens(found.clipped)) < len(plain)

    values, before, returned = numbers(draw), numbers(draw), numbers(draw)
    of_values = value_loss(padded(values), padded(before), padded(returned), cliprange)
    wanted = [
        naive.value_loss(*three, cliprange) for three in zip(flat(values), flat(before), flat(returned), strict=True)
    ]
    assert at_tokens(of_values.loss) == pytest.approx(wanted)


def test_no_more_is_to_be_gained_beyond_the_bound() -> None:
    """A good token that is 1.5 times as likely already gets no gradient; a bad one that is still does."""
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5], requires_grad=True)
    policy_loss(ratio, torch.tensor([1.0, -1.0, 1.0, -1.0]), 0.2).loss.sum().backward()
    assert ratio.grad is not None
    assert ratio.grad.tolist() == [0.0, 1.0, -1.0, 0.0]


def test_whitening(draw: random.Random) -> None:
    rows = numbers(draw)
    of_all, spread = naive.mean(flat(rows)), math.sqrt(naive.variance(flat(rows)))
    white = whiten(padded(rows), MASK)
    assert at_tokens(white) == pytest.approx([(number - of_all) / spread for number in flat(rows)])
    assert not white[~MASK].any()
    kept = whiten(padded(rows), MASK, shifts_mean=False)
    assert at_tokens(kept) == pytest.approx([(number - of_all) / spread + of_all for number in flat(rows)])
    assert not kept[~MASK].any()


def test_a_part_is_scaled_as_the_whole_is(draw: random.Random) -> None:
    """One of two processes with two rows each scales them as one with all four does."""
    values, own, other = padded(numbers(draw)), slice(0, 2), slice(2, 4)
    mean = masked_mean(values, MASK)
    count = MASK[other].sum().double()
    sums = torch.stack((count, (values[other] * MASK[other]).sum()))
    squares = torch.stack((count, ((values - mean)[other] ** 2 * MASK[other]).sum()))
    # What the other process adds: to the mean, to the mean that the variance is around, and to the variance.
    theirs = iter((sums, sums, squares))
    found = whiten(values[own], MASK[own], total=lambda ours: ours + next(theirs))
    assert torch.allclose(found, whiten(values, MASK)[own])


def test_explained_variance(draw: random.Random) -> None:
    values, returned = numbers(draw), numbers(draw)
    left = naive.variance([one - other for one, other in zip(flat(returned), flat(values), strict=True)])
    wanted = 1 - left / naive.variance(flat(returned))
    assert float(explained_variance(padded(values), padded(returned), MASK)) == pytest.approx(wanted)
    assert float(explained_variance(padded(returned), padded(returned), MASK)) == 1
    constant = padded([[0.5] * count for _, count in SHAPES])
    assert float(explained_variance(padded(values), constant, MASK)) == 0
    assert float(masked_variance(constant, MASK)) == 0


def test_nothing_masked_is_no_number_at_all() -> None:
    nothing = torch.zeros_like(MASK)
    values = torch.ones(MASK.shape)
    assert float(masked_mean(values, nothing)) == 0
    assert not whiten(values, nothing).any()
