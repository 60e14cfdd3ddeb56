"""What the watch has told, kept small: enough to know which job an event is about, never the objects themselves."""

from __future__ import annotations

import sys
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_operator.desired import references

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tunesmith_operator.inputs import JobKey, Object, Termination


@dataclass(slots=True)
class Record:
    """What is remembered of a job."""

    uid: str
    version: str
    state: str
    settled: bool
    needs: frozenset[JobKey]


def version_of(obj: Object) -> str:
    """Return what tells one version of one object from all others."""
    metadata = obj["metadata"]
    return f"{metadata.get('uid')}/{metadata.get('resourceVersion')}"


def is_settled(job: Object) -> bool:
    """Return whether a job is Complete or Failed, and its spec has not changed since."""
    status = job.get("status") or {}
    generation = job["metadata"].get("generation")
    return bool(status.get("completionTime")) and status.get("observedGeneration") == generation


class JobStore:
    """The jobs that exist, as far as the watch has told."""

    def __init__(self) -> None:
        self._records: dict[JobKey, Record] = {}
        self._dependents: dict[JobKey, set[JobKey]] = {}

    def observe(self, key: JobKey, job: Object) -> bool:
        """Remember a job; return whether this version of it was not known yet: a late page may tell of an older one."""
        old = self._records.get(key)
        record = _record(key, job)
        if old and old.uid == record.uid and not _newer(record.version, old.version):
            return False
        self._unlink(key, old)
        self._records[key] = record
        for other in record.needs:
            self._dependents.setdefault(other, set()).add(key)
        return True

    def get(self, key: JobKey) -> Record | None:
        """Return what is remembered of a job."""
        return self._records.get(key)

    def forget(self, key: JobKey) -> None:
        """Forget a job that is gone."""
        self._unlink(key, self._records.pop(key, None))

    def dependents(self, key: JobKey) -> frozenset[JobKey]:
        """Return the jobs that take the output, or a checkpoint, of a job."""
        return frozenset(self._dependents.get(key, ()))

    def known(self) -> frozenset[JobKey]:
        """Return all jobs."""
        return frozenset(self._records)

    def count(self) -> Mapping[tuple[str, str], int]:
        """Return the number of jobs by kind and state."""
        return Counter((key.kind, record.state) for key, record in self._records.items())

    def _unlink(self, key: JobKey, record: Record | None) -> None:
        for other in record.needs if record else ():
            waiting = self._dependents.get(other, set())
            waiting.discard(key)
            if not waiting:
                self._dependents.pop(other, None)


def _newer(version: str, known: str) -> bool:
    """Whether a resourceVersion is another one and, where both are numbers as the API server's are, a later one."""
    if version.isdecimal() and known.isdecimal():
        return int(version) > int(known)
    return version != known


def _record(key: JobKey, job: Object) -> Record:
    metadata = job["metadata"]
    state = str((job.get("status") or {}).get("state") or "Pending")
    return Record(
        uid=str(metadata.get("uid")),
        version=str(metadata.get("resourceVersion")),
        state=sys.intern(state),
        settled=is_settled(job),
        needs=frozenset(references.dependencies(key, job).values()),
    )


class Echoes:
    """Versions of objects that this process wrote itself: when the watch tells of them, there is nothing to do."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._versions: OrderedDict[str, None] = OrderedDict()

    def wrote(self, obj: Mapping[str, Any]) -> None:
        """Remember what a write has returned."""
        self._versions[version_of(obj)] = None
        if len(self._versions) > self._limit:
            self._versions.popitem(last=False)

    def __contains__(self, version: str) -> bool:
        return version in self._versions


@dataclass(slots=True)
class _Kept:
    termination: Termination
    since: float


class Terminations:
    """How the containers of pods ended, by pod UID: a pod that is gone can not be asked any more."""

    def __init__(
        self, *, limit: int = 5_000, seconds: float = 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._by_job: OrderedDict[JobKey, dict[str, _Kept]] = OrderedDict()
        self._size = 0

    def keep(self, key: JobKey, uid: str, termination: Termination) -> None:
        """Remember how a pod of a job ended; what is told last is the most complete."""
        pods = self._by_job.setdefault(key, {})
        self._by_job.move_to_end(key)
        self._size += uid not in pods
        pods[uid] = _Kept(termination, self._clock())
        while self._size > self._limit or self._oldest_is_stale():
            _, dropped = self._by_job.popitem(last=False)
            self._size -= len(dropped)

    def of(self, key: JobKey) -> dict[str, Termination]:
        """Return how the pods of a job ended, by UID."""
        return {uid: kept.termination for uid, kept in self._by_job.get(key, {}).items()}

    def forget(self, key: JobKey) -> None:
        """Forget the pods of a job that is over or gone."""
        self._size -= len(self._by_job.pop(key, {}))

    def __len__(self) -> int:
        return self._size

    def _oldest_is_stale(self) -> bool:
        pods = next(iter(self._by_job.values()), None)
        return pods is not None and all(self._clock() - kept.since > self._seconds for kept in pods.values())
