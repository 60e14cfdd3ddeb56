"""Regular expressions of a spec: compiled with a message for the user, searched within a bounded time.

A pattern such as `(a|aa)+$` can take longer than the age of the universe. Python's `re` can not be told to stop; the
`regex` package, which transformers needs and which speaks the same language, can.
"""

from __future__ import annotations

from typing import Any

import regex

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards.base import UnscoredError

_SECONDS = 0.5  # for one completion; a pattern that is no runaway takes microseconds
_SHOWN = 80


class Pattern:
    """A compiled pattern."""

    def __init__(self, text: str, field: str) -> None:
        """Compile one.

        Args:
            text: The pattern as the user wrote it.
            field: Path of the spec's field, for messages.

        Raises:
            InvalidSpec: It is no regular expression.
        """
        try:
            self._compiled = regex.compile(text)
        except regex.error as error:
            raise InvalidSpec(f"{field}: {text[:_SHOWN]!r} is no regular expression: {error}; correct it") from error

    def found_in(self, text: str) -> bool:
        """Return whether it matches somewhere.

        Raises:
            UnscoredError: That takes too long.
        """
        return self._run("search", text) is not None

    def matches(self, text: str) -> bool:
        """Return whether it matches all of a text.

        Raises:
            UnscoredError: That takes too long.
        """
        return self._run("fullmatch", text) is not None

    def last_in(self, text: str) -> str | None:
        """Return the first group, or else the whole, of the last match; None without a match.

        Raises:
            UnscoredError: That takes too long.
        """
        found = self._run("findall", text)
        if not found:
            return None
        last = found[-1]
        return str(last[0] if isinstance(last, tuple) else last)

    def _run(self, method: str, text: str) -> Any:
        try:
            return getattr(self._compiled, method)(text, timeout=_SECONDS)
        except TimeoutError:
            raise UnscoredError(
                f"pattern {self._compiled.pattern[:_SHOWN]!r} takes longer than {_SECONDS:g} s"
            ) from None
