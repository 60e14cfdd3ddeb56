"""Templates that build a prompt or a completion from columns.

`{column}` is replaced, the column's name may stand in quotes; `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from tunesmith_trainer.data.raw import RawRow

# Own parsing instead of str.format: its fields reach attributes and items of what they are given.
_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")


@dataclass(frozen=True)
class Template:
    """A parsed template.

    Attributes:
        parts: Literal texts and column names in order; the flag tells which part is a column.
    """

    parts: tuple[tuple[bool, str], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the template names, in order."""
        return tuple(text for is_column, text in self.parts if is_column)

    def render(self, row: RawRow) -> str:
        """Return the text of one row.

        Raises:
            DataError: A column is missing, or neither text nor a number.
        """
        return "".join(_value(row, text) if is_column else text for is_column, text in self.parts)


def parse_template(text: str, field: str) -> Template:
    """Return a template, ready to be filled.

    Args:
        text: The template as the user wrote it.
        field: Path of the spec's field, for messages.

    Raises:
        InvalidSpec: A brace stands alone, or a pair of them is empty.
    """
    parts: list[tuple[bool, str]] = []
    end = 0
    for match in _TOKEN.finditer(text):
        parts.append((False, text[end : match.start()]))
        parts.append(_token(match.group(), match.start(), field))
        end = match.end()
    parts.append((False, text[end:]))
    return Template(tuple(part for part in parts if part[1]))


def _token(token: str, position: int, field: str) -> tuple[bool, str]:
    if token in {"{{", "}}"}:
        return False, token[0]
    name = token[1:-1].strip()
    if len(name) > 2 and name[0] == name[-1] and name[0] in "'\"":  # noqa: PLR2004 - two quotes
        name = name[1:-1]
    if not name:
        raise InvalidSpec(
            f"{field}: {token} at character {position + 1} names no column;"
            " write {column}, or {{ and }} for braces"
        )
    return True, name


def _value(row: RawRow, column: str) -> str:
    if column not in row.values:
        found = ", ".join(row.values) or "none"
        raise row.error(
            f"the template's column {column!r} is missing (found: {found})", "correct the row or the template"
        )
    value = row.values[column]
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise row.error(f"the template's column {column!r} is neither text nor a number", "make it text")
