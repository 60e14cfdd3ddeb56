"""Where the handlers put what they hear."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith_api.labels import JOB_KIND, JOB_NAME
from tunesmith_operator.inputs import JobKey
from tunesmith_operator.resources import JOBS

if TYPE_CHECKING:
    from collections.abc import Collection

    from tunesmith_operator.inputs import Object
    from tunesmith_operator.liveness import Canary
    from tunesmith_operator.queue import WorkQueue
    from tunesmith_operator.store import JobStore, Terminations

_JOB_KINDS = frozenset(resource.kind for resource in JOBS)
DELETED = "DELETED"


class Hints:
    """Jobs that were just created, as the watch told them: their first pass need not read them again."""

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._jobs: dict[JobKey, Object] = {}

    def put(self, key: JobKey, job: Object) -> None:
        """Keep a job that has no status yet; where there are too many, those that came first, whose turn is next."""
        if len(self._jobs) < self._limit or key in self._jobs:
            self._jobs[key] = job

    def drop(self, key: JobKey) -> None:
        """Forget a job that is no longer as it was."""
        self._jobs.pop(key, None)

    def take(self, key: JobKey) -> Object | None:
        """Return the job and forget it."""
        return self._jobs.pop(key, None)


@dataclass
class Listener:
    """The parts of the operator that events are for."""

    queue: WorkQueue[JobKey]
    jobs: JobStore
    terminations: Terminations
    canary: Canary
    lease: tuple[str, str]
    """Namespace and name of the operator's own Lease."""
    namespaces: Collection[str] = ()
    """Namespaces that are looked after; empty: all."""
    hints: Hints = field(default_factory=Hints)

    def concerns(self, namespace: str) -> bool:
        """Return whether a namespace is looked after; the operator's own is watched for its Lease alone."""
        return not self.namespaces or namespace in self.namespaces


def job_of(obj: dict[str, Any]) -> JobKey | None:
    """Return the job that a child or a pod belongs to, by its labels."""
    metadata = obj.get("metadata", {})
    labels = metadata.get("labels") or {}
    kind, name = labels.get(JOB_KIND), labels.get(JOB_NAME)
    return JobKey(kind, str(metadata.get("namespace")), name) if kind in _JOB_KINDS and name else None
