"""Conditions after kstatus: Ready always; Reconciling, Stalled, Complete and Failed only while they are true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.meta import Condition, ConditionType, Reason, State
from tunesmith_operator.status import times

if TYPE_CHECKING:
    from datetime import datetime

    from tunesmith_api.meta import ConditionStatus
    from tunesmith_api.v1alpha1.status import JobStatus

_MESSAGE_LENGTH = 4096


@dataclass(frozen=True)
class Stamp:
    """What every status carries: the generation it speaks of, its run, and when it was computed."""

    now: datetime
    generation: int
    run_id: str


def under_way(status: JobStatus, stamp: Stamp, state: State, *, reason: str, message: str) -> JobStatus:
    """Return the status of a job that goes forward or waits."""
    wanted: dict[ConditionType, ConditionStatus] = {ConditionType.READY: "Unknown", ConditionType.RECONCILING: "True"}
    return _with(status, stamp, state, wanted=wanted, reason=reason, message=message)


def complete(status: JobStatus, stamp: Stamp, *, message: str) -> JobStatus:
    """Return the status of a job whose output is there."""
    wanted: dict[ConditionType, ConditionStatus] = {ConditionType.READY: "True", ConditionType.COMPLETE: "True"}
    return _with(status, stamp, State.COMPLETE, wanted=wanted, reason=Reason.SUCCEEDED.value, message=message)


def failed(status: JobStatus, stamp: Stamp, *, reason: str, message: str) -> JobStatus:
    """Return the status of a job that can not go on without a change by its user."""
    wanted: dict[ConditionType, ConditionStatus] = {
        ConditionType.READY: "False",
        ConditionType.STALLED: "True",
        ConditionType.FAILED: "True",
    }
    return _with(status, stamp, State.FAILED, wanted=wanted, reason=reason, message=message)


def observe_generation(status: JobStatus, generation: int) -> JobStatus:
    """Return a final status that speaks of a newer generation: an edit that changes nothing for a finished run."""
    conditions = tuple(c.model_copy(update={"observed_generation": generation}) for c in status.conditions)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})


def _with(
    status: JobStatus,
    stamp: Stamp,
    state: State,
    *,
    wanted: dict[ConditionType, ConditionStatus],
    reason: str,
    message: str,
) -> JobStatus:
    before = {condition.type: condition for condition in status.conditions}
    now = times.render(stamp.now)
    conditions = tuple(
        Condition(
            type=kind.value,
            status=value,
            observed_generation=stamp.generation,
            last_transition_time=_transition(before.get(kind.value), value, now),
            reason=reason,
            message=shorten(message, _MESSAGE_LENGTH),
        )
        for kind, value in wanted.items()
    )
    update = {"conditions": conditions, "observed_generation": stamp.generation, "state": state, "run_id": stamp.run_id}
    return status.model_copy(update=update)


def _transition(before: Condition | None, value: ConditionStatus, now: str) -> str:
    return before.last_transition_time if before is not None and before.status == value else now


def shorten(text: str, length: int) -> str:
    """Return a text of at most this many characters; what is cut off is shown by an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"
