"""Preferences are learnt: a model that sorts up or down by chance comes to sort up, and with swapped labels down.

Steps, rates and thresholds were fixed before; they are those at which the methods were first seen to learn this.
"""

from typing import Any

import pytest
from sorting import CONTROL, SEEDS, Claim, Standing, labels, preferences

pytestmark = pytest.mark.timeout(1500)  # the first of a seed makes its start
ACCURACY = 0.95
CLAIMS = {
    "dpo": Claim(1e-4, {"beta": 0.1}, batch=32, success=0.65),
    "kto": Claim(1e-4, {"beta": 0.1}, batch=32, success=0.85),
    "orpo": Claim(5e-4, {"beta": 0.1}, batch=32, success=0.9),
    "cpo": Claim(5e-4, {"beta": 0.1}, batch=32, success=0.8),
    "simpo": Claim(1e-4, {"beta": 2.0}, batch=32, success=0.6),
}


def aligned(lab: Any, align: Any, start: Any, method: str, *, swapped: bool = False) -> Standing:
    rows = labels if method == "kto" else preferences
    dataset = lab.put("preferences.jsonl", rows(start.training, swapped=swapped))
    standing: Standing = align(method, CLAIMS[method], dataset)
    return standing


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
    lab: Any, align: Any, start: Any, method: str, seed: int, record_property: Any
) -> None:
    after = aligned(lab, align, start, method)
    after.tell(record_property)
    assert after.accuracy >= ACCURACY
    assert after.success >= CLAIMS[method].success


@pytest.mark.methods("method")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", CLAIMS)
def test_swapped_labels_teach_the_opposite(
    lab: Any, align: Any, start: Any, method: str, seed: int, record_property: Any
) -> None:
    after = aligned(lab, align, start, method, swapped=True)
    after.tell(record_property)
    assert after.accuracy < CONTROL
    assert after.success < CONTROL
