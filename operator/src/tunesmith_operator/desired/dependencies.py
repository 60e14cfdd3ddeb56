"""The job that a job starts from: found, not there yet, or leading back to the job itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tunesmith_api.meta import Reason
from tunesmith_api.v1alpha1.status import OutputRecord, VolumePath
from tunesmith_operator.desired import references
from tunesmith_operator.status import stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
    from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
    from tunesmith_api.v1alpha1.model import ResumeFrom
    from tunesmith_api.v1alpha1.status import HubModel
    from tunesmith_operator.inputs import Inputs, JobKey, Object


@dataclass(frozen=True)
class Missing:
    """Why what the other job made can not be used, or not yet."""

    reason: Reason
    message: str
    permanent: bool = False
    """Whether only a change of this job helps."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint of the other job.

    Attributes:
        folder: Where it is.
        base: The model that its adapter belongs to, None when it holds a whole model.
    """

    folder: VolumePath
    base: VolumePath | HubModel | None


def cycle(inputs: Inputs) -> tuple[JobKey, ...] | None:
    """Return the path on which `fromJob` or `resumeFrom` leads back to the job itself; None when it does not.

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


def look(inputs: Inputs, spec: FineTuneJobSpec | AlignmentJobSpec) -> OutputRecord | Saved | Missing | None:
    """Return what the job starts from that another job made; None when it starts from something else."""
    if spec.model.from_job is not None:
        return find(inputs)
    if spec.model.resume_from is not None:
        return find_checkpoint(inputs, spec.model.resume_from, spec.method)
    return None


def find(inputs: Inputs) -> OutputRecord | Missing:
    """Return the output of the job that `model.fromJob` names."""
    found = _other_job(inputs, "spec.model.fromJob")
    if isinstance(found, Missing):
        return found
    name, job = found.name, found.job
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


def find_checkpoint(inputs: Inputs, wanted: ResumeFrom, method: str) -> Saved | Missing:
    """Return the checkpoint that `model.resumeFrom` names, once nothing is written beside it any more.

    Args:
        inputs: What was gathered.
        wanted: The block of the spec.
        method: The method of the job; the other one's must be the same for its steps to count here.
    """
    found = _other_job(inputs, "spec.model.resumeFrom")
    if isinstance(found, Missing):
        return found
    name, job = found.name, found.job
    if (job.get("spec") or {}).get("method") != method:
        message = f"spec.model.resumeFrom: {name} has another method than this job. Use model.fromJob to start from it."
        return Missing(Reason.INVALID_SPEC, message, permanent=True)
    if not _is_true(job, "Complete") and not _is_true(job, "Failed"):
        return Missing(Reason.WAITING_FOR_JOB, f"Waiting for {name} to be Complete or Failed; {_progress(job)}.")
    status = stored.read(job.get("status"))
    folders = {record.step: record.path for record in status.checkpoints}
    step = max(folders, default=None) if wanted.step is None else wanted.step
    if step not in folders or status.resolved is None:
        steps = ", ".join(map(str, sorted(folders))) or "none"
        return Missing(
            Reason.WAITING_FOR_JOB,
            f"{name} has no checkpoint{'' if wanted.step is None else f' of step {wanted.step}'}; it has {steps}."
            " Correct spec.model.resumeFrom, or run that job again under a new runId.",
        )
    base, claim = status.resolved.base_model, references.output_claim(found.key, job)
    return Saved(VolumePath(claim=claim, path=folders[step]), base.model if base else None)


@dataclass(frozen=True)
class _Other:
    key: JobKey
    job: Object

    @property
    def name(self) -> str:
        return f"{self.key.kind} {self.key.name}"


def _other_job(inputs: Inputs, field: str) -> _Other | Missing:
    key = references.dependency(inputs.key, inputs.job)
    if key is None:
        return Missing(Reason.WAITING_FOR_JOB, f"{field} names no job.")
    job = inputs.jobs.get(key)
    if job is None:
        return Missing(
            Reason.WAITING_FOR_JOB,
            f"Waiting for {key.kind} {key.name}, which does not exist in namespace {key.namespace}. Create it, or"
            f" correct {field}.",
        )
    return _Other(key, job)


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
