"""Kubernetes timestamps."""

from __future__ import annotations

from datetime import UTC, datetime


def parse(text: object) -> datetime | None:
    """Return the moment that an RFC 3339 timestamp names; None for what is no timestamp."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def render(moment: datetime) -> str:
    """Return a moment in UTC as Kubernetes writes it, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds from one moment to a later one, at least 0; None when one of them is unknown."""
    if start is None or end is None:
        return None
    return max(0.0, (end - start).total_seconds())
