"""What an online method's policy wrote, with the rewards it got: some of it, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.report.numerals import numeral

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tunesmith_trainer.report.facts import Facts

_MOST_STEPS = 5
_MOST_ROWS = 8  # of a step
_LONGEST = 2000  # characters of a prompt or completion
_SAMPLED = ("reward", "advantage")


@dataclass(frozen=True)
class Written:
    """One completion."""

    prompt: str
    completion: str
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Completions of one step.

    Attributes:
        step: The step.
        figures: Names of the columns beside prompt and completion.
        rows: Some of them.
        left_out: How many there are beside these.
    """

    step: int
    figures: tuple[str, ...]
    rows: tuple[Written, ...]
    left_out: int


def batches(facts: Facts) -> list[Batch]:
    """Return completions of a few steps, the first and the last among them."""
    ordered = sorted(facts.completions, key=lambda row: row["step"])
    steps = [(step, list(group)) for step, group in groupby(ordered, key=lambda row: row["step"])]
    return [_batch(step, rows) for step, rows in _spread(steps, _MOST_STEPS)]


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many of the items, evenly, with both ends."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def _batch(step: int, rows: Sequence[Mapping[str, Any]]) -> Batch:
    rewards = tuple(dict.fromkeys(name for row in rows for name in row["rewards"]))
    sampled = tuple(name for name in _SAMPLED if any(row.get(name) is not None for row in rows))
    # The best and the worst of a step tell more than those that came first.
    shown = _spread(sorted(rows, key=lambda row: -_number(row["reward"])), _MOST_ROWS)
    return Batch(
        step=step,
        figures=(*rewards, *sampled),
        rows=tuple(
            Written(
                _cut(row["prompt"]),
                _cut(row["completion"]),
                tuple(_figure(row["rewards"].get(name)) for name in rewards)
                + tuple(_figure(row.get(name)) for name in sampled),
            )
            for row in shown
        ),
        left_out=len(rows) - len(shown),
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("-inf")


def _figure(value: Any) -> str:
    return numeral(value) if isinstance(value, int | float) else "–"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
