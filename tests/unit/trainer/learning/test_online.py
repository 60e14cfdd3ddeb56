"""What is rewarded is learnt: a model that sorts up or down by chance comes to sort up, not far from where it began.

With the reward negated it sorts up no more. Steps, rates and thresholds were fixed before.
"""

from typing import Any

import pytest
from sorting import CONTROL, DIGITS, SEEDS, Claim, Standing

pytestmark = pytest.mark.timeout(1500)  # the first of a seed makes its start
NATS_PER_TOKEN = 1.0
NATS_PER_SEQUENCE = 2.0
GROUPS = {"beta": 0.04, "numGenerations": 8, "maxCompletionLength": DIGITS + 1}
CLAIMS = {
    "grpo": Claim(5e-4, GROUPS, batch=64, success=0.8),
    "rloo": Claim(5e-4, GROUPS, batch=64, success=0.8),
    # A step is a mini batch: a hundred rollouts, each trained on four times.
    "ppo": Claim(3e-4, {"numPpoEpochs": 4, "maxCompletionLength": DIGITS + 1}, batch=64, success=0.8, steps=400),
}


def aligned(lab: Any, align: Any, start: Any, method: str, *, weight: float = 1.0) -> Standing:
    dataset = lab.put("prompts.jsonl", [{"prompt": task.prompt, "answer": task.up} for task in start.training])
    rewards = [{"name": "up", "weight": weight, "answer": {"compare": "exact"}}]
    standing: Standing = align(method, CLAIMS[method], dataset, rewards=rewards)
    return standing


@pytest.mark.methods("method")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", CLAIMS)
def test_what_is_rewarded_is_learnt(
    lab: Any, align: Any, start: Any, method: str, seed: int, record_property: Any
) -> None:
    after = aligned(lab, align, start, method)
    after.tell(record_property)
    assert after.success >= CLAIMS[method].success
    assert after.kl_per_token <= NATS_PER_TOKEN
    assert after.kl_per_sequence <= NATS_PER_SEQUENCE


@pytest.mark.methods("method")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", CLAIMS)
def test_what_is_punished_is_given_up(
    lab: Any, align: Any, start: Any, method: str, seed: int, record_property: Any
) -> None:
    after = aligned(lab, align, start, method, weight=-1.0)
    after.tell(record_property)
    assert after.success < CONTROL
