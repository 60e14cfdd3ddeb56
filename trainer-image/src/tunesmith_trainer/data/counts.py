"""What became of the rows of one pass: how many, how long, what of them is learnt."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PERCENTILES = (5, 25, 50, 75, 90, 95, 99)


@dataclass
class Counts:
    """What became of the rows; a row takes 12 bytes, and each of its answers 4.

    Attributes:
        rows: Rows that were read.
        used: Rows that are trained on.
        truncated: Rows of these that were longer than `maxLength`.
        dropped: Rows that are left out, as what is learnt from them does not fit in `maxLength`.
        tokens: Tokens of the used rows.
        loss_tokens: Tokens of these that carry loss.
        lengths: Length of each row that was read, in tokens, before it was cut.
        fingerprints: A hash of each row that was read.
        alike: Pairs of answers that are the same within `maxLength`, so that nothing is learnt from them.
        answers: Lengths of the answers in tokens by what they are, such as chosen and rejected, before they were cut.
        drawn: Rows and tokens used of each dataset, by its field in the spec.
    """

    rows: int = 0
    used: int = 0
    truncated: int = 0
    dropped: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    lengths: array[int] = field(default_factory=lambda: array("I"), repr=False)
    fingerprints: array[int] = field(default_factory=lambda: array("q"), repr=False)
    alike: int = 0
    answers: dict[str, array[int]] = field(default_factory=dict, repr=False)
    drawn: dict[str, Counter[str]] = field(default_factory=dict, repr=False)

    def read(self, *parts: Sequence[int]) -> None:
        """Count a row that was read.

        Args:
            parts: Its token ids before it is cut; of two answers to one prompt, both.
        """
        self.rows += 1
        self.lengths.append(max(map(len, parts)))
        self.fingerprints.append(hash(tuple(map(tuple, parts))))

    def use(self, tokens: int, loss_tokens: int, *, source: str = "", truncated: bool = False) -> None:
        """Count a row that is trained on.

        Args:
            tokens: Its tokens after it was cut.
            loss_tokens: Those of them that carry loss.
            source: Field of the dataset it is from.
            truncated: Whether it was cut.
        """
        self.used += 1
        self.truncated += truncated
        self.tokens += tokens
        self.loss_tokens += loss_tokens
        self.drawn.setdefault(source, Counter()).update(rows=1, tokens=tokens)

    def answer(self, kind: str, tokens: int) -> None:
        """Count an answer.

        Args:
            kind: What it is among the answers of its dataset.
            tokens: Its length before it is cut.
        """
        self.answers.setdefault(kind, array("I")).append(tokens)

    def report(self) -> dict[str, Any]:
        """Return the counts for the run's record and for who judges the data."""
        return {
            "rows": self.rows,
            "used": self.used,
            "truncated": self.truncated,
            "dropped": self.dropped,
            "duplicates": self._duplicates(),
            "tokens": self.tokens,
            "lossTokens": self.loss_tokens,
            "truncatedShare": _share(self.truncated, self.used),
            "lossShare": _share(self.loss_tokens, self.tokens),
            "tokenLength": token_lengths(self.lengths),
            "drawn": _shares(self.drawn),
            **self._answers(),
        }

    def _answers(self) -> dict[str, Any]:
        """Return how many answers of each kind there are, and how long; nothing where rows have no answers."""
        if not self.answers:
            return {}
        told = {
            kind: {"count": len(lengths), **token_lengths(lengths)} for kind, lengths in sorted(self.answers.items())
        }
        return {"answers": told} | ({"alike": self.alike} if "chosen" in told else {})

    def _duplicates(self) -> int:
        import numpy as np

        return self.rows - len(np.unique(np.frombuffer(self.fingerprints, dtype=np.int64))) if self.rows else 0


def token_lengths(lengths: array[int]) -> dict[str, float]:
    """Return least, mean, greatest and percentiles of row lengths, in tokens; nothing of no rows."""
    import numpy as np

    if not lengths:
        return {}
    values = np.frombuffer(lengths, dtype=np.uintc)
    found = np.percentile(values, _PERCENTILES, method="higher")
    return {
        "min": int(values.min()),
        "mean": round(float(values.mean()), 1),
        "max": int(values.max()),
        **{f"p{percentile}": int(value) for percentile, value in zip(_PERCENTILES, found, strict=True)},
    }


def _shares(drawn: Mapping[str, Counter[str]]) -> dict[str, dict[str, float]]:
    """Return rows and tokens of each dataset, and its share of all."""
    totals: Counter[str] = sum(drawn.values(), Counter())
    return {
        source: {
            **counter,
            "rowShare": _share(counter["rows"], totals["rows"]),
            "tokenShare": _share(counter["tokens"], totals["tokens"]),
        }
        for source, counter in drawn.items()
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
