"""Chat messages in OpenAI's or ShareGPT's keys, made uniform: `{"role": …, "content": …}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.raw import describe

if TYPE_CHECKING:
    from tunesmith_trainer.data.raw import RawRow

Message = dict[str, str]

_KEYS = (("role", "content"), ("from", "value"))
_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
SYSTEM_COLUMN = "system"


def read_messages(row: RawRow, column: str) -> list[Message]:
    """Return the chat in a column, with the text of a `system` column in front when the chat itself has none.

    Raises:
        DataError: The column holds something else.
    """
    value = row.values[column]
    if not isinstance(value, list):
        raise row.error(f"column {column!r} is {describe(value)}, not an array of messages", _WRITE)
    if not value:
        raise row.error(f"column {column!r} is empty", "give it at least one message or remove the row")
    messages = [_message(row, f"message {number} of column {column!r}", item) for number, item in enumerate(value, 1)]
    for number, message in enumerate(messages[1:], start=2):
        if message["role"] == "system":
            raise row.error(f"message {number} of column {column!r} is a system message", "put it first")
    return messages if messages[0]["role"] == "system" else system_message(row) + messages


def read_answer(row: RawRow, column: str) -> str | list[Message]:
    """Return a column that is text, one message, or an array of messages."""
    value = row.values[column]
    if isinstance(value, str):
        return read_text(row, column)
    if isinstance(value, dict):
        return [_message(row, f"column {column!r}", value)]
    if isinstance(value, list) and value:
        return [_message(row, f"message {number} of column {column!r}", item) for number, item in enumerate(value, 1)]
    raise row.error(f"column {column!r} is {describe(value)}", "make it text, a message or an array of messages")


def read_text(row: RawRow, column: str, *, may_be_empty: bool = False) -> str:
    """Return a column of text.

    Raises:
        DataError: The column holds something else, or nothing.
    """
    value = row.values[column]
    if not isinstance(value, str):
        raise row.error(f"column {column!r} is {describe(value)}, not text", "make it text, in double quotes")
    if not may_be_empty and not value.strip():
        raise row.error(f"column {column!r} is empty", "fill it or remove the row")
    return value


_WRITE = 'write [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'


def system_message(row: RawRow) -> list[Message]:
    """Return the message that a row's `system` column makes; none when it has no text there."""
    value = row.values.get(SYSTEM_COLUMN)
    if not isinstance(value, str) or not value.strip():
        return []
    return [{"role": "system", "content": value}]


def _message(row: RawRow, where: str, item: Any) -> Message:
    if not isinstance(item, dict):
        raise row.error(f"{where} is {describe(item)}, not an object", _WRITE)
    for role_key, content_key in _KEYS:
        if role_key in item and content_key in item:
            return {"role": _role(row, where, item[role_key]), "content": _content(row, where, item[content_key])}
    found = ", ".join(item) or "none"
    raise row.error(f"{where} has neither role and content nor from and value (found: {found})", _WRITE)


def _role(row: RawRow, where: str, value: object) -> str:
    role = _ROLES.get(value.strip().lower()) if isinstance(value, str) else None
    if role is None:
        raise row.error(f"{where} has the role {value!r}", f"use one of {', '.join(_ROLES)}")
    return role


def _content(row: RawRow, where: str, value: object) -> str:
    if not isinstance(value, str):
        raise row.error(f"the content of {where} is {describe(value)}, not text", "make it text")
    if not value.strip():
        raise row.error(f"the content of {where} is empty", "fill it or remove the row")
    return value
