"""Whether a new status is worth a write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

PROGRESS_SECONDS = 15.0
"""Least time between two writes of one job when nothing but its progress moves, unless configured otherwise."""

_TIME_LEFT = re.compile(r", about [^,;.]* left")


def worth_writing(
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any],
    last_write: datetime | None,
    now: datetime,
    *,
    interval: float = PROGRESS_SECONDS,
) -> bool:
    """Return whether a status is to be written: news at once, progress now and then, the clock's own ticking never.

    Args:
        old: The status that is stored.
        new: The status that was computed.
        last_write: When this job's status was written last; None: never by this process.
        now: The time.
        interval: Least time between two writes that tell progress alone, in seconds.
    """
    old = old or {}
    if _news(old) != _news(new):
        return True
    if _movement(old) == _movement(new):
        return False
    return last_write is None or (now - last_write).total_seconds() >= interval


def _news(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader must know at once: all but figures that move by themselves."""
    return {
        **_without(status, "timings", "checkpoints"),
        "progress": "progress" in status,
        "conditions": [_without(condition, "message") for condition in status.get("conditions") or []],
        "attempts": [_without(attempt, "lastStep") for attempt in status.get("attempts") or []],
    }


def _movement(status: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what shows that training moves: not the time it took, nor when it was asked, nor what time is left."""
    return (
        _without(status.get("progress") or {}, "lastUpdatedTime", "estimatedRemainingSeconds"),
        status.get("checkpoints"),
        [attempt.get("lastStep") for attempt in status.get("attempts") or []],
        list(_messages(status.get("conditions") or [])),
    )


def _messages(conditions: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    return (_TIME_LEFT.sub("", str(condition.get("message") or "")) for condition in conditions)


def _without(item: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in fields}
