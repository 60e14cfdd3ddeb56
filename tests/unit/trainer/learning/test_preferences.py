"""Preferences are learnt: a model that sorts up or down by chance comes to sort up, and with swapped labels down.

Steps, rates and thresholds were fixed before; they are those at which the methods were first seen to learn this.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from sorting import TASK_LENGTH, Sorter, Standing, labels, preferences

pytestmark = pytest.mark.timeout(1500)  # the first of a seed makes its start
SEEDS = (1, 2, 3)
ACCURACY = 0.95
CONTROL = 0.2


@dataclass(frozen=True)
class Claim:
    """What a method is told, and the share of sampled answers that it must get right then."""

    learning_rate: float
    success: float
    block: dict[str, Any]


CLAIMS = {
    "dpo": Claim(1e-4, 0.65, {"beta": 0.1}),
    "kto": Claim(1e-4, 0.85, {"beta": 0.1}),
    "orpo": Claim(5e-4, 0.9, {"beta": 0.1}),
    "cpo": Claim(5e-4, 0.8, {"beta": 0.1}),
    "simpo": Claim(1e-4, 0.6, {"beta": 2.0}),
}


def align(lab: Any, finished: Any, start: Any, method: str, *, seed: int, swapped: bool = False) -> Standing:
    claim = CLAIMS[method]
    rows = labels if method == "kto" else preferences
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "sorter"}},
        "datasets": [lab.put("preferences.jsonl", rows(start.training, swapped=swapped))],
        "training": {
            "maxLength": TASK_LENGTH,
            "maxSteps": 100,
            "perDeviceTrainBatchSize": 32,
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
def test_the_start_is_undecided(start: Any, seed: int, record_property: Any) -> None:
    """Nearly every sampled answer is sorted, up as often as down; nothing is measured that was there before."""
    before = start.sorter().measure(start.held_out, start.sorter(), seed=seed)
    before.tell(record_property)
    assert before.accuracy <= 0.6
    assert 0.4 < before.success < 0.6
    assert before.kl_per_token == pytest.approx(0, abs=1e-6)


@pytest.mark.methods("method")
@pytest.mark.parametrize(
    ("method", "seed"),
    [
        pytest.param(method, seed, marks=pytest.mark.slow if (method, seed) == ("dpo", 1) else ())
        for method in CLAIMS
        for seed in SEEDS
    ],
)
def test_what_is_preferred_is_learnt(
    lab: Any, finished: Any, start: Any, method: str, seed: int, record_property: Any
) -> None:
    after = align(lab, finished, start, method, seed=seed)
    after.tell(record_property)
    assert after.accuracy >= ACCURACY
    assert after.success >= CLAIMS[method].success


@pytest.mark.methods("method")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", CLAIMS)
def test_swapped_labels_teach_the_opposite(
    lab: Any, finished: Any, start: Any, method: str, seed: int, record_property: Any
) -> None:
    after = align(lab, finished, start, method, seed=seed, swapped=True)
    after.tell(record_property)
    assert after.accuracy < CONTROL
    assert after.success < CONTROL
