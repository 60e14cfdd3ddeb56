"""The metric history of a run: every figure that was logged, step by step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

Entry = dict[str, Any]
Points = list[tuple[float, float]]

LOSS = "eval_loss"
PERPLEXITY = "eval_perplexity"
REWARD = "eval_reward"
PAIR_ACCURACY = "eval_rewards/accuracies"
ACCURACY = "eval_accuracy"
_LARGEST_EXPONENT = 700.0  # e to the power of more is no float


def history(initial: Mapping[str, Any], log: Iterable[Entry]) -> list[Entry]:
    """Return all that was logged: the evaluation before the first step first, as step 0.

    Args:
        initial: Figures of the evaluation before the first step; empty without one.
        log: `TrainerState.log_history`.
    """
    return [*([{"step": 0, **initial}] if initial else []), *log]


def json_lines(entries: Iterable[Entry]) -> str:
    """Return one JSON object a line."""
    return "".join(json.dumps(finite(entry), allow_nan=False) + "\n" for entry in entries)


def finite(value: Any) -> Any:
    """Return a value of JSON, with the names of NaN and the infinities, for which JSON has no numbers."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def curve(entries: Iterable[Entry], name: str) -> Points:
    """Return the finite values of a figure by step, the last one where a step has several."""
    points: dict[float, float] = {}
    for entry in entries:
        value = entry.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            points[entry["step"]] = float(value)
    return sorted(points.items())


def with_perplexity(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return held-out figures together with the perplexity, e to the power of the loss.

    As in Transformers' own examples: the Trainer's loss is the mean over batches, not over tokens.
    """
    loss = figures.get(LOSS)
    if not isinstance(loss, int | float) or not loss < _LARGEST_EXPONENT:
        return dict(figures)
    return {**figures, PERPLEXITY: math.exp(loss)}
