"""Preferences that prefer nothing: all of them are looked for and told together, so that they are removed at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tunesmith_trainer.data.raw import RawRow
    from tunesmith_trainer.errors import DataError

_MOST_NAMED = 5


def prefers_nothing(row: Mapping[str, Any]) -> bool:
    """Whether a row is a preference between two answers that are the same."""
    return "chosen" in row and row["chosen"] == row["rejected"]


@dataclass
class EqualPairs:
    """Rows of a dataset that prefer nothing.

    Attributes:
        columns: The columns of the preferred and of the other answer.
        count: How many there are.
    """

    columns: tuple[str, str]
    count: int = 0
    _first: list[RawRow] = field(default_factory=list, repr=False)

    def add(self, raw: RawRow) -> None:
        """Take down a row."""
        self.count += 1
        if self.count <= _MOST_NAMED:
            self._first.append(raw)

    def error(self) -> DataError:
        """Return the error that names the first of them, and says how many there are."""
        first, *others = self._first
        chosen, rejected = self.columns
        told = f"columns {chosen!r} and {rejected!r} are equal, which prefers nothing"
        if not others:
            return first.error(told, "remove the row")
        places = ", ".join(f"{raw.file}, {raw.position}" if raw.file != first.file else raw.position for raw in others)
        more = ", …" if self.count > _MOST_NAMED else ""
        return first.error(f"{told}, and so in {self.count - 1} more rows ({places}{more})", "remove the rows")
