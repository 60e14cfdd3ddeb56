"""The job that a job starts from: found, not there yet, or leading back to the job itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tunesmith_api.meta import Reason
from tunesmith_api.v1alpha1.status import OutputRecord
from tunesmith_operator.desired import references

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tunesmith_operator.inputs import Inputs, JobKey, Object


@dataclass(frozen=True)
class Missing:
    """Why the output of the other job can not be used yet."""

    reason: Reason
    message: str


def cycle(inputs: Inputs) -> tuple[JobKey, ...] | None:
    """Return the path on which `fromJob` leads back to the job itself; None when it does not.

    A job that is Complete waits for nothing any more, so the path ends there.
    """
    path = [inputs.key]
    job: Object | None = inputs.job
    while job is not None and (source := references.dependency(path[-1], job)) is not None:
        if source == inputs.key:
            return (*path, source)
        if source in path:
            return None  # a cycle further on: the jobs in it fail, and this one waits for them
        path.append(source)
        job = inputs.jobs.get(source)
        if job is not None and _is_true(job, "Complete"):
            return None
    return None


def find(inputs: Inputs) -> OutputRecord | Missing:
    """Return the output of the job that `model.fromJob` names."""
    key = references.dependency(inputs.key, inputs.job)
    if key is None:
        return Missing(Reason.WAITING_FOR_JOB, "spec.model.fromJob names no job.")
    name, job = f"{key.kind} {key.name}", inputs.jobs.get(key)
    if job is None:
        return Missing(
            Reason.WAITING_FOR_JOB,
            f"Waiting for {name}, which does not exist in namespace {key.namespace}. Create it, or correct"
            " spec.model.fromJob.",
        )
    if _is_true(job, "Failed"):
        ready = _condition(job, "Failed")
        return Missing(
            Reason.DEPENDENCY_FAILED,
            f"{name} failed ({ready.get('reason', 'unknown reason')}). Correct it and run it again under a new"
            " spec.runId: this job starts by itself once it is Complete. Or name another job in spec.model.fromJob.",
        )
    status = job.get("status") or {}
    if not _is_true(job, "Complete") or status.get("runId") != references.run_id(job):
        return Missing(Reason.WAITING_FOR_JOB, f"Waiting for {name} to be Complete; {_progress(job)}.")
    return _output(name, status.get("output"))


def _progress(job: Object) -> str:
    status, wanted = job.get("status") or {}, references.run_id(job)
    if status.get("runId") not in {None, wanted}:
        return f"its run {wanted} has not begun"
    return f"it is {status.get('state') or 'new'}"


def _output(name: str, record: Any) -> OutputRecord | Missing:
    try:
        output = OutputRecord.model_validate(record)
    except ValidationError:
        output = None
    if output is None or (output.kind == "adapter" and (output.base_model is None or output.base_model.model is None)):
        return Missing(
            Reason.WAITING_FOR_JOB,
            f"{name} is Complete, but its status.output does not tell what to load. Run it again with a new runId.",
        )
    return output


def _is_true(job: Object, condition: str) -> bool:
    return _condition(job, condition).get("status") == "True"


def _condition(job: Object, kind: str) -> Mapping[str, Any]:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})
