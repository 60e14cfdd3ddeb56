"""The preparation of a run: what is seen of its Job, how it ended, and its record in the status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith_api import labels
from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.naming import preparation_name
from tunesmith_api.v1alpha1.status import Preparation
from tunesmith_operator.desired import metadata
from tunesmith_operator.status import outcomes, times
from tunesmith_operator.status.attempts import MESSAGE_LENGTH, Ending
from tunesmith_operator.status.conditions import shorten
from tunesmith_operator.status.ending import LOST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tunesmith_api.v1alpha1.status import AttemptResult, JobStatus
    from tunesmith_operator.inputs import JobKey, Object, Termination
    from tunesmith_operator.status.pods import Pod

_MORE_MEMORY = "Raise prepare.resources.limits.memory"
_NO_REPORT = "data and model passed the checks, but the report did not arrive; it is in the run's folder on the claim"


@dataclass(frozen=True)
class BatchJob:
    """The batch/v1 Job of a preparation. Beside `desired/preparation.py` the only place that knows its shape."""

    kind: ClassVar[str] = "Job"

    name: str
    uid: str
    owner_uid: str
    run_id: str
    number: int
    run_digest: str
    created: datetime | None
    deleting: bool
    complete: bool
    failure: str
    """Why the cluster calls it failed; empty while it does not."""
    suspended: bool
    """Whether it must not run yet: Kueue can hold back any Job."""


def read(obj: Object) -> BatchJob:
    """Return what is seen of a Job."""
    meta: Any = obj.get("metadata", {})
    marks = meta.get("labels") or {}
    number = str(marks.get(labels.PREPARATION, ""))
    conditions = (obj.get("status") or {}).get("conditions") or []
    ended = {entry.get("type"): entry for entry in conditions if entry.get("status") == "True"}
    failed = ended.get("Failed")
    return BatchJob(
        name=str(meta.get("name", "")),
        uid=str(meta.get("uid", "")),
        owner_uid=metadata.owner_uid(obj),
        run_id=str(marks.get(labels.RUN_ID, "")),
        number=int(number) if number.isdigit() else 1,
        run_digest=str((meta.get("annotations") or {}).get(labels.RUN_DIGEST, "")),
        created=times.parse(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        complete="Complete" in ended,
        failure=str(failed.get("message") or "no reason is told") if failed else "",
        suspended=bool((obj.get("spec") or {}).get("suspend")),
    )


def new(key: JobKey, run_id: str, number: int, now: datetime) -> Preparation:
    """Return the record of a preparation whose Job is about to be created."""
    name = preparation_name(key.kind, key.name, number)
    return Preparation(number=number, run_id=run_id, job=name, start_time=times.render(now))


def remember(status: JobStatus, own: BatchJob | None, now: datetime) -> JobStatus:
    """Write down the UID of a Job that is seen for the first time; a cut-short pass may have left it without record."""
    if own is None:
        return status
    record = status.preparation
    if record is None:
        started = times.render(own.created or now)
        record = Preparation(number=own.number, run_id=own.run_id, job=own.name, start_time=started)
    if record.job_uid is not None or record.job != own.name:
        return status
    seen = record.model_copy(update={"job_uid": own.uid, "run_id": own.run_id or record.run_id})
    return status.model_copy(update={"preparation": seen})


def close(record: Preparation, ending: Ending, now: datetime) -> Preparation:
    """Return the record of a preparation that has ended."""
    return record.model_copy(
        update={
            "end_time": times.render(now),
            "result": ending.result,
            "reason": ending.reason,
            "message": shorten(ending.message, MESSAGE_LENGTH),
            "exit_code": ending.exit_code,
            "report": ending.outcome.preparation if ending.outcome else None,
        }
    )


def slim(record: Preparation | None) -> Preparation | None:
    """Return what must be known of a former run's preparation: its number goes on, what it found does not count."""
    return record.model_copy(update={"report": None, "message": None}) if record else None


def judge(
    record: Preparation,
    job: BatchJob | None,
    pod: Pod | None,
    *,
    terminations: Mapping[str, Termination],
    now: datetime,
) -> Ending | None:
    """Return how a preparation ended; None while it runs.

    Args:
        record: Its record.
        job: Its Job, if that is there.
        pod: Its pod, if that is there.
        terminations: How the containers of pods ended, by UID; also of pods that are gone.
        now: The time.
    """
    ended = terminations.get(record.pod_uid or "") or (pod.termination if pod else None)
    if ended is not None:
        return _ended(record, ended)
    if job is not None and job.complete:
        return Ending("Succeeded", "Succeeded", _NO_REPORT, exit_code=0)
    return _lost(record, job, pod, now)


def _lost(record: Preparation, job: BatchJob | None, pod: Pod | None, now: datetime) -> Ending | None:
    """Return how a preparation ended whose pod tells nothing; None while it may go on."""
    if record.job_uid is not None and (job is None or job.deleting):
        return Ending("Disrupted", "JobDeleted", f"Job {record.job} was deleted")
    if pod is not None and pod.overdue(now, LOST_SECONDS):
        return Ending("Disrupted", "NodeLost", f"node {pod.node or 'unknown'} of pod {pod.name} does not answer")
    if pod is None and record.pod_uid is not None:
        return Ending("Disrupted", "PodGone", f"the pod of Job {record.job} was deleted, or its node was lost")
    if job is not None and job.failure:
        return Ending("Crashed", "JobFailed", f"the cluster failed Job {record.job}: {job.failure}")
    return None


def _ended(record: Preparation, termination: Termination) -> Ending:
    code = termination.exit_code
    outcome = outcomes.read(termination.message, record.number, record.pod_uid or "")
    if code == ExitCode.SUCCESS:
        message = outcome.message if outcome else _NO_REPORT
        return Ending("Succeeded", "Succeeded", message, exit_code=0, outcome=outcome)
    message = outcomes.describe(termination, outcome, more_memory=_MORE_MEMORY)
    if outcomes.is_permanent(code):
        return Ending("Failed", outcomes.reason(termination), message, code, outcome)
    result: AttemptResult = "Disrupted" if outcomes.is_disruptive(termination) else "Crashed"
    reason = termination.disruption or outcomes.reason(termination)
    return Ending(result, reason, message, code if code >= 0 else None, outcome)
