"""What is rewarded is learnt: a model that sorts up or down by chance comes to sort up, not far from where it began.

With the reward negated it sorts up no more. Steps, rates and thresholds were fixed before.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from sorting import DIGITS, TASK_LENGTH, Sorter, Standing

pytestmark = pytest.mark.timeout(1500)  # the first of a seed makes its start
SEEDS = (1, 2, 3)
SUCCESS = 0.8
CONTROL = 0.2
NATS_PER_TOKEN = 1.0
NATS_PER_SEQUENCE = 2.0
GROUPS = {"beta": 0.04, "numGenerations": 8, "maxCompletionLength": DIGITS + 1}
BATCH = 64


@dataclass(frozen=True)
class Claim:
    """What a method is told."""

    learning_rate: float
    steps: int
    block: dict[str, Any]


CLAIMS = {
    "grpo": Claim(5e-4, 100, GROUPS),
    "rloo": Claim(5e-4, 100, GROUPS),
    # A step is a mini batch: a hundred rollouts, each trained on four times.
    "ppo": Claim(3e-4, 400, {"numPpoEpochs": 4, "maxCompletionLength": DIGITS + 1}),
}


def align(lab: Any, finished: Any, start: Any, method: str, *, seed: int, weight: float = 1.0) -> Standing:
    claim = CLAIMS[method]
    rows = [{"prompt": task.prompt, "answer": task.up} for task in start.training]
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "sorter"}},
        "datasets": [lab.put("prompts.jsonl", rows)],
        "rewards": [{"name": "up", "weight": weight, "answer": {"compare": "exact"}}],
        "training": {
            "maxLength": TASK_LENGTH,
            "maxSteps": claim.steps,
            "perDeviceTrainBatchSize": BATCH,
            "learningRate": claim.learning_rate,
            "seed": seed,
        },
        method: claim.block,
    }
    saved = finished("aligned", spec, start.model)
    aligned = Sorter(lab.path(saved.base.claim, saved.base.path))
    return aligned.measure(start.held_out, start.sorter(), seed=seed)


@pytest.mark.methods("method")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", CLAIMS)
def test_what_is_rewarded_is_learnt(
    lab: Any, finished: Any, start: Any, method: str, seed: int, record_property: Any
) -> None:
    after = align(lab, finished, start, method, seed=seed)
    after.tell(record_property)
    assert after.success >= SUCCESS
    assert after.kl_per_token <= NATS_PER_TOKEN
    assert after.kl_per_sequence <= NATS_PER_SEQUENCE


@pytest.mark.methods("method")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", CLAIMS)
def test_what_is_punished_is_given_up(
    lab: Any, finished: Any, start: Any, method: str, seed: int, record_property: Any
) -> None:
    after = align(lab, finished, start, method, seed=seed, weight=-1.0)
    after.tell(record_property)
    assert after.success < CONTROL
