"""What people say of answers: a label, good or bad, and by how much one is better than another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.data.raw import describe

if TYPE_CHECKING:
    from tunesmith_trainer.data.raw import RawRow

_LARGEST_MARGIN = 3.4e38  # about what 32 bits hold, which is how margins are kept


def read_label(row: RawRow, column: str) -> bool:
    """Return whether an answer is labelled good.

    Raises:
        DataError: The column says neither true nor false. Text is not read: the word "false" would count as true in
            many places, and nobody knows what "bad" or "-1" was meant to be.
    """
    value = row.values[column]
    if isinstance(value, bool) or (isinstance(value, int | float) and value in {0, 1}):
        return bool(value)
    found = f"{describe(value)}, {repr(value)[:40]}" if isinstance(value, str | int | float) else describe(value)
    raise row.error(
        f"column {column!r} is {found}, and no label",
        "write true (good) or false (bad) without quotes, or 1 or 0; a CSV file has text alone: use JSON lines",
    )


def read_margin(row: RawRow, column: str) -> float:
    """Return by how much an answer's reward is to be above the other's.

    Raises:
        DataError: The column is no number, or one that 32 bits do not hold.
    """
    value = row.values[column]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise row.error(f"column {column!r} is {describe(value)}, and no margin", "make it a number, such as 0.5 or 0")
    if not abs(value) <= _LARGEST_MARGIN:  # true of NaN, too; an integer may be too large to be made a float
        raise row.error(
            f"column {column!r} is {repr(value)[:40]}, which is no finite 32-bit number", "correct or remove the row"
        )
    return float(value)
