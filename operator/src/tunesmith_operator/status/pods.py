"""What is seen of a pod, and how its trainer container ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tunesmith_api.labels import REPLICA_INDEX
from tunesmith_api.pod import CONTAINER_NAME, PREPARATION_CONTAINER_NAME
from tunesmith_operator.inputs import Termination
from tunesmith_operator.status import times

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tunesmith_operator.inputs import Object

_CONTAINERS = frozenset({CONTAINER_NAME, PREPARATION_CONTAINER_NAME})
UNKNOWN_EXIT_CODE = -1
"""Exit code of a pod that failed without its container having run to an end."""

_TURNED_AWAY = frozenset({
    "Evicted", "NodeAffinity", "NodeLost", "NodeShutdown", "Preempting", "Shutdown", "Terminated",
    "UnexpectedAdmissionError",
})  # fmt: skip


@dataclass(frozen=True)
class Waiting:
    """Why a container does not run yet, in the kubelet's words."""

    reason: str
    message: str
    image: str


@dataclass(frozen=True)
class Pod:
    """One pod of an attempt or of a preparation."""

    index: int
    uid: str
    name: str
    owner_uid: str
    node: str
    ip: str
    phase: str
    created: datetime | None
    deletion_deadline: datetime | None
    """When its grace period is over; None while nobody has deleted it."""
    scheduled: datetime | None
    unschedulable: str
    """The scheduler's message while it finds no node; empty else."""
    started: datetime | None
    """When the trainer container started."""
    running: bool
    node_lost: bool
    """Whether its container ran and the node stopped reporting on it."""
    waiting: Waiting | None
    termination: Termination | None

    @property
    def terminal(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.phase in {"Succeeded", "Failed"} or self.termination is not None

    def overdue(self, now: datetime, seconds: float) -> bool:
        """Whether it still has not ended this long after its grace period."""
        deadline = self.deletion_deadline
        return deadline is not None and not self.terminal and now >= deadline + timedelta(seconds=seconds)


def read(pod: Object, known: Mapping[str, Termination]) -> Pod:
    """Return what is seen of a pod.

    Args:
        pod: The pod.
        known: How the containers of pods ended, as kept from earlier events.
    """
    metadata, status = pod.get("metadata", {}), pod.get("status", {})
    container = _container(pod)
    state = container.get("state") or {}
    scheduled = _condition(pod, "PodScheduled")
    uid = str(metadata.get("uid", ""))
    return Pod(
        index=_index(metadata),
        uid=uid,
        name=str(metadata.get("name", "")),
        owner_uid=next(
            (str(ref.get("uid")) for ref in metadata.get("ownerReferences") or [] if ref.get("controller")), ""
        ),
        node=str(pod.get("spec", {}).get("nodeName") or ""),
        ip=str(status.get("podIP") or ""),
        phase=str(status.get("phase") or "Pending"),
        created=times.parse(metadata.get("creationTimestamp")),
        deletion_deadline=times.parse(metadata.get("deletionTimestamp")),
        scheduled=times.parse(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
        unschedulable=str(scheduled.get("message") or "") if scheduled.get("status") == "False" else "",
        started=times.parse((state.get("running") or state.get("terminated") or {}).get("startedAt")),
        running="running" in state,
        # Trainer pods have no readiness probe: once one runs, only the node controller takes Ready from it.
        node_lost="running" in state and _condition(pod, "Ready").get("status") == "False",
        waiting=_waiting(container, state),
        termination=known.get(uid) or termination_of(pod),
    )


def termination_of(pod: Object) -> Termination | None:
    """Return how a pod's trainer container ended; None while it has not, as far as this payload tells.

    To be kept by pod UID from MODIFIED and DELETED events: a pod that is gone can not be asked.
    """
    status = pod.get("status", {})
    ended = (_container(pod).get("state") or {}).get("terminated")
    finished = times.parse((ended or {}).get("finishedAt"))
    disrupted = _disrupted(pod, finished)
    target = _condition(pod, "DisruptionTarget")
    disruption = str(target.get("reason") or "") if target.get("status") == "True" else ""
    requested = _deletion_requested(pod)
    if ended is not None:
        return Termination(
            exit_code=int(ended.get("exitCode", UNKNOWN_EXIT_CODE)),
            reason=str(ended.get("reason") or ""),
            message=str(ended.get("message") or ""),
            disrupted=disrupted or ended.get("reason") == "ContainerStatusUnknown",
            disruption=disruption,
            finished=times.parse(ended.get("finishedAt")),
            deletion_requested=requested,
        )
    if status.get("phase") != "Failed":
        return None
    return Termination(
        exit_code=UNKNOWN_EXIT_CODE,
        reason=str(status.get("reason") or "PodFailed"),
        message=str(status.get("message") or ""),
        disrupted=disrupted,
        disruption=disruption,
        deletion_requested=requested,
    )


def _disrupted(pod: Object, finished: datetime | None) -> bool:
    """Return whether a pod was stopped from outside; a deletion that was asked for after its end has not stopped it."""
    reason = str(pod.get("status", {}).get("reason") or "")
    requested = _deletion_requested(pod)
    return (
        _condition(pod, "DisruptionTarget").get("status") == "True"
        or (requested is not None and (finished is None or requested <= finished))
        or reason in _TURNED_AWAY
        or reason.startswith("OutOf")
    )


def _deletion_requested(pod: Object) -> datetime | None:
    metadata = pod.get("metadata", {})
    deadline = times.parse(metadata.get("deletionTimestamp"))
    if deadline is None:
        return None
    return deadline - timedelta(seconds=float(metadata.get("deletionGracePeriodSeconds") or 0))


def _container(pod: Object) -> Mapping[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((entry for entry in statuses if entry.get("name") in _CONTAINERS), {})


def _condition(pod: Object, kind: str) -> Mapping[str, Any]:
    conditions = pod.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _waiting(container: Mapping[str, Any], state: Mapping[str, Any]) -> Waiting | None:
    waiting = state.get("waiting")
    if waiting is None:
        return None
    return Waiting(
        reason=str(waiting.get("reason") or ""),
        message=str(waiting.get("message") or ""),
        image=str(container.get("image") or ""),
    )


def _index(metadata: Mapping[str, Any]) -> int:
    text = (metadata.get("labels") or {}).get(REPLICA_INDEX, "0")
    return int(text) if str(text).isdigit() else 0
