"""Copying what a server sends, up to a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK_BYTES = 1 << 20


def copy_bounded(stream: Any, target: Path, room: int, place: str) -> int:
    """Write a stream to a file and return how many bytes it had.

    Args:
        stream: What to read.
        target: The file.
        room: Most bytes that may come.
        place: The field of the spec, for messages.

    Raises:
        DataError: More came.
    """
    copied = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while block := stream.read(_BLOCK_BYTES):
            copied += len(block)
            if copied > room:
                raise DataError(f"{place}: there is more than maxBytes allows; raise it, or name a smaller file")
            file.write(block)
    return copied
