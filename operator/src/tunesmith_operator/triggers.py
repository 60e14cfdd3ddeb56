"""Why a job is looked at. Triggers are strings so that many of them cost little."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith_operator.store import Echoes

JOB = "job "
CHILD = "child "
"""Prefixes of triggers by watch events; the version of the object follows."""
RESYNC = "resync"
PROGRESS = "progress"
DEPENDENCY = "dependency"
KINDS = "kinds"
STATUS = "status"
"""A status that was put off is to be written."""


def select(triggers: frozenset[str], echoes: Echoes) -> frozenset[str]:
    """Return the triggers that ask for a pass: not those that tell of what this process wrote itself."""
    return frozenset(trigger for trigger in triggers if _version(trigger) not in echoes)


def _version(trigger: str) -> str:
    for prefix in (JOB, CHILD):
        if trigger.startswith(prefix):
            return trigger[len(prefix) :]
    return ""
