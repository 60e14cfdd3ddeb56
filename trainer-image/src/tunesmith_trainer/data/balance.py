"""Whether weights make up for more good than bad answers, or the other way round, as KTO needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.encode import DESIRABLE, UNDESIRABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tunesmith_api.v1alpha1.methods.kto import Kto

_MOST = 4 / 3  # of what good answers weigh in sum, to what bad ones do


def label_counts(told: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of good and of bad rows that are trained on, from what was told of them (`Counts.report`)."""
    answers = told.get("answers", {})
    return {label: answers.get(label, {}).get("count", 0) for label in (DESIRABLE, UNDESIRABLE)}


def weight_advice(labels: Mapping[str, int], kto: Kto) -> str | None:
    """Return what to set when the weights do not fit the labels; None when they do.

    Good answers should weigh 1 to 4/3 times as much as bad ones in sum (Ethayarajh et al. 2024, arXiv:2402.01306,
    equation 8), which is what TRL advises too.

    Args:
        labels: Number of `desirable` and of `undesirable` rows.
        kto: The method's block.
    """
    good, bad = labels[DESIRABLE], labels[UNDESIRABLE]
    if not good or not bad:
        given, lacking = ("good", "bad") if good else ("bad", "good")
        return f"all {good + bad} rows are labelled {given}, which pushes the model one way only: add {lacking} ones"
    even = bad * kto.undesirable_weight / good
    least, most = _told(even), _told(_MOST * even)
    if least <= kto.desirable_weight <= most:
        return None
    opposite = good * kto.desirable_weight / bad
    return (
        f"{good} rows are labelled good and {bad} bad, and their weights do not make up for it: set"
        f" kto.desirableWeight between {least:g} and {most:g}, or kto.undesirableWeight between"
        f" {_told(opposite / _MOST):g} and {_told(opposite):g}, not both"
    )


def _told(weight: float) -> float:
    """Return a weight as it is told, which must satisfy when it is set."""
    return float(f"{weight:.3g}")
