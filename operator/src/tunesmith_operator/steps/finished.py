"""Jobs that are over: being deleted, or at the end of the run that the spec asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tunesmith_operator.inputs import Decision
from tunesmith_operator.status import conditions, times
from tunesmith_operator.status.ending import LOST_SECONDS
from tunesmith_operator.steps import common

if TYPE_CHECKING:
    from tunesmith_operator.status.situation import Situation


def leave_deleted(situation: Situation) -> Decision | None:
    """Leave a job that is being deleted alone: its children go with it."""
    job = situation.inputs.job
    if not job.get("metadata", {}).get("deletionTimestamp"):
        return None
    return Decision(job.get("status") or {})


def leave_finished(situation: Situation) -> Decision | None:
    """Leave a finished run as it is; its last PyTorchJob stays, so that logs can be read.

    Only pods that go on although the run is over are stopped, after the training operator had time to do it.
    """
    ended = times.parse(situation.status.completion_time)
    if ended is None:
        return None
    status = situation.status
    if status.observed_generation != situation.stamp.generation:
        status = conditions.observe_generation(status, situation.stamp.generation)
    if not situation.live_pods or situation.child is None:
        return Decision(status.to_wire())
    left = (ended + timedelta(seconds=LOST_SECONDS) - situation.now).total_seconds()
    if left > 0:
        return Decision(status.to_wire(), requeue_after=left)
    return Decision(status.to_wire(), common.delete_child(situation), requeue_after=LOST_SECONDS)
