"""What every reward has in common: columns by name outside, one completion or one batch at a time inside."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith_trainer.data.rows import Content

Scores = list[float | None]
"""One figure for each completion; None where there is none, which TRL leaves out of sum and mean."""
_log = logging.getLogger(__name__)


class UnscoredError(Exception):
    """A completion, or a batch of them, gets no figure; the text tells why, alike for all of a kind."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail
        """What is known of this one."""


@dataclass(frozen=True)
class Batch:
    """Completions to score.

    Attributes:
        prompts: What was asked: texts or chats.
        completions: What the model wrote, as TRL hands it over: texts or lists of messages.
        completion_ids: The same as token ids, the end among them when it was reached.
        columns: The further columns of the rows.
    """

    prompts: list[Content]
    completions: list[Content]
    completion_ids: list[list[int]]
    columns: dict[str, list[Any]]

    @property
    def samples(self) -> list[Sample]:
        """The completions, one by one."""
        rows = ({name: values[place] for name, values in self.columns.items()} for place in range(len(self)))
        return [
            Sample(text_of(completion), ids, row)
            for completion, ids, row in zip(self.completions, self.completion_ids, rows, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.completions)


@dataclass(frozen=True)
class Sample:
    """One completion.

    Attributes:
        text: What the model wrote.
        ids: The same as token ids.
        row: The further columns of its row.
    """

    text: str
    ids: list[int]
    row: dict[str, Any]


def text_of(completion: Content) -> str:
    """Return the text of a completion; of a chat what the assistant says last."""
    if isinstance(completion, str):
        return completion
    said = [message["content"] for message in completion if message["role"] == "assistant"]
    return str(said[-1] or "") if said else ""


class Failures:
    """Counts what one reward could not score, by kind, and logs each kind once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.counts: Counter[str] = Counter()
        """Completions without a figure, by the reason; grows while the model is trained."""

    def add(self, reason: str, *, completions: int = 1, detail: str = "") -> None:
        """Count completions that get no figure.

        Args:
            reason: Why, alike for all of a kind.
            completions: How many.
            detail: What is known of these.
        """
        if reason not in self.counts:
            said = f"{reason}: {detail}" if detail else reason
            _log.warning("reward %s is left out of a completion's sum: %s; told once, counted on", self._name, said)
        self.counts[reason] += completions


Scorer = Callable[[Batch, Failures], Scores]


def each(score: Callable[[Sample], float | None]) -> Scorer:
    """Return a scorer of batches that scores one completion after the other."""

    def score_all(batch: Batch, failures: Failures) -> Scores:
        scores: Scores = []
        for sample in batch.samples:
            try:
                scores.append(score(sample))
            except UnscoredError as reason:
                failures.add(str(reason))
                scores.append(None)
        return scores

    return score_all


class RewardFunction:
    """A reward, told of under its `__name__`, as TRL calls that of a function."""

    def __init__(self, name: str, score: Scorer, facts: Mapping[str, Any] | None = None) -> None:
        """Make one.

        Args:
            name: Its name.
            score: What scores.
            facts: What the run record tells of it, beside its failures.
        """
        self.__name__ = name
        self.failures = Failures(name)
        self.facts = {**(facts or {}), "failures": self.failures.counts}
        self._score = score

    def __call__(
        self,
        /,  # a column may be called so
        *,
        prompts: list[Content],
        completions: list[Content],
        completion_ids: list[list[int]],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> Scores:
        """Return one figure for each completion.

        Args:
            prompts: What was asked.
            completions: What the model wrote.
            completion_ids: The same as token ids.
            log_metric: Told the share of completions without a figure, once there was one.
            columns: The further columns of the rows.
        """
        before = self.failures.counts.total()
        scores = self._score(Batch(prompts, completions, completion_ids, columns), self.failures)
        failed = self.failures.counts.total()
        if log_metric is not None and failed:
            log_metric(f"rewards/{self.__name__}/failures", (failed - before) / max(1, len(completions)))
        return scores
