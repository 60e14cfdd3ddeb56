"""PyTorchJobs and their pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_operator import metrics
from tunesmith_operator.handlers.listener import job_of
from tunesmith_operator.status.pods import termination_of
from tunesmith_operator.store import version_of
from tunesmith_operator.triggers import CHILD

if TYPE_CHECKING:
    from tunesmith_operator.handlers.listener import Listener


def on_child(listener: Listener, event_type: str | None, child: dict[str, Any]) -> None:
    """Enqueue the job of a PyTorchJob."""
    key = job_of(child)
    if key is None or not listener.concerns(key.namespace):
        return
    metrics.watch_event("PyTorchJob")
    record = listener.jobs.get(key)
    if record and record.settled and (child.get("status") or {}).get("completionTime"):
        return  # both are over
    listener.queue.add(key, CHILD + version_of(child), background=event_type is None)


def on_pod(listener: Listener, event_type: str | None, pod: dict[str, Any]) -> None:
    """Keep how a pod ended, since it can not be asked once it is gone, and enqueue its job."""
    key = job_of(pod)
    if key is None or not listener.concerns(key.namespace):
        return
    metrics.watch_event("Pod")
    record, termination = listener.jobs.get(key), termination_of(pod)
    if record and record.settled and termination is not None:
        return  # both are over; a pod that goes on after its job is stopped
    if termination is not None:
        listener.terminations.keep(key, str(pod["metadata"].get("uid")), termination)
    listener.queue.add(key, CHILD + version_of(pod), background=event_type is None)
