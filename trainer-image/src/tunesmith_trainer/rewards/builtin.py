"""The rewards that need nothing but the completion and its row."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.rewards.base import Sample, Scorer, UnscoredError, each
from tunesmith_trainer.rewards.json_schema import parse_json, parse_schema
from tunesmith_trainer.rewards.numerals import last_number
from tunesmith_trainer.rewards.patterns import Pattern

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.rewards import AnswerReward, LengthReward, RegexReward, RepetitionReward


def regex_reward(wanted: RegexReward, field: str) -> Scorer:
    """Return the reward of matching a pattern."""
    pattern = Pattern(wanted.pattern, f"{field}.pattern")
    matches = pattern.matches if wanted.match == "fullMatch" else pattern.found_in
    return each(lambda sample: float(matches(sample.text)))


def answer_reward(wanted: AnswerReward, field: str) -> Scorer:
    """Return the reward of the right answer."""
    pattern = None if wanted.pattern is None else Pattern(wanted.pattern, f"{field}.pattern")
    tolerance = Decimal(str(wanted.tolerance or 0))

    def score(sample: Sample) -> float:
        right = _right_answer(sample.row, wanted.column)
        expected = right if pattern is None or (part := pattern.last_in(right)) is None else part
        given = sample.text if pattern is None else pattern.last_in(sample.text)
        if wanted.compare == "exact":
            return float(given is not None and _plain(given) == _plain(expected))
        number = last_number(expected)
        if number is None:
            raise UnscoredError(f"column {wanted.column!r} of the row holds no number")
        answer = None if given is None else last_number(given)
        return float(answer is not None and abs(answer - number) <= tolerance)

    return each(score)


def _right_answer(row: dict[str, Any], column: str) -> str:
    answer = row.get(column)
    if answer is None:
        raise UnscoredError(f"column {column!r} of the row is missing or empty")
    return str(answer)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def length_reward(wanted: LengthReward) -> Scorer:
    """Return the reward of a length within bounds."""

    def score(sample: Sample) -> float:
        length = len(sample.ids) if wanted.unit == "tokens" else len(sample.text)
        low, high = wanted.min or 0, length if wanted.max is None else wanted.max
        beyond = max(low - length, length - high, 0)
        return max(0.0, 1 - beyond / wanted.margin) if wanted.margin else float(beyond == 0)

    return each(score)


def repetition_reward(wanted: RepetitionReward) -> Scorer:
    """Return the penalty of repetition: the share of n-grams that were there before (Yeo et al. 2025, C.2)."""

    def score(sample: Sample) -> float:
        size = wanted.ngram_size
        ngrams = [tuple(sample.ids[start : start + size]) for start in range(len(sample.ids) - size + 1)]
        return len(set(ngrams)) / len(ngrams) - 1 if ngrams else 0.0

    return each(score)


def json_schema_reward(text: str, field: str) -> Scorer:
    """Return the reward of JSON that fits a schema."""
    fits = parse_schema(text, field)

    def score(sample: Sample) -> float:
        try:
            value = parse_json(sample.text)
        except ValueError:
            return 0.0
        try:
            return float(fits(value))
        except RecursionError:
            raise UnscoredError("the JSON is nested too deeply, or the schema refers to itself without end") from None

    return each(score)
