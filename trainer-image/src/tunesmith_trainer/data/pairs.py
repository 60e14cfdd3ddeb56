"""Preferences that prefer nothing: all of them are looked for and told together, so that they are removed at once."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tunesmith_trainer.data.raw import RawRow
    from tunesmith_trainer.errors import DataError

_MOST_NAMED = 5


def prefers_nothing(row: Mapping[str, Any]) -> bool:
    """Whether a row is a preference between two answers that are the same."""
    return "chosen" in row and row["chosen"] == row["rejected"]


def equal_pairs(found: Iterator[RawRow], columns: Mapping[str, str]) -> DataError:
    """Return the error that names the first of a dataset's rows that prefer nothing, and says how many there are.

    Args:
        found: These rows, at least one.
        columns: The column of each part of a row.
    """
    first, *others = itertools.islice(found, _MOST_NAMED)
    unnamed = sum(1 for _ in found)
    told = f"columns {columns['chosen']!r} and {columns['rejected']!r} are equal, which prefers nothing"
    if not others:
        return first.error(told, "remove the row")
    places = ", ".join(f"{raw.file}, {raw.position}" if raw.file != first.file else raw.position for raw in others)
    more = ", …" if unnamed else ""
    count = len(others) + unnamed
    return first.error(f"{told}, and so in {count} more rows ({places}{more})", "remove the rows")
