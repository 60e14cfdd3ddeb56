"""FineTuneJobs and AlignmentJobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_operator import metrics
from tunesmith_operator.handlers.listener import DELETED
from tunesmith_operator.inputs import JobKey
from tunesmith_operator.store import version_of
from tunesmith_operator.triggers import DEPENDENCY, JOB

if TYPE_CHECKING:
    from tunesmith_operator.handlers.listener import Listener


def on_job(listener: Listener, kind: str, event_type: str | None, job: dict[str, Any]) -> None:
    """Enqueue a job that changed, and the jobs that wait for it.

    Args:
        listener: Where to.
        kind: Kind of the job.
        event_type: Type of the watch event; None for the first list.
        job: The object.
    """
    metadata = job["metadata"]
    if not listener.concerns(metadata["namespace"]):
        return
    metrics.watch_event(kind)
    key = JobKey(kind, metadata["namespace"], metadata["name"])
    before = listener.jobs.get(key)
    if event_type == DELETED:
        # kopf may tell of a job of this name that was made since before it tells of this one's deletion.
        if before is not None and before.uid == metadata.get("uid"):
            listener.jobs.forget(key)
    elif not listener.jobs.observe(key, job):
        return
    after = listener.jobs.get(key)
    if before is None or after is None or before.state != after.state:
        for dependent in listener.jobs.dependents(key):
            listener.queue.add(dependent, DEPENDENCY)
    if event_type is None and after is not None and after.settled:
        return
    if event_type == "ADDED" and not job.get("status"):
        metadata.pop("managedFields", None)
        listener.hints.put(key, job)
    else:
        listener.hints.drop(key)
    # What existed before the operator started is not waited for as what is applied now.
    listener.queue.add(key, JOB + version_of(job), background=event_type is None)
