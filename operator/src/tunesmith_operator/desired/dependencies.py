"""The jobs that a job depends on: found, not there yet, or leading back to the job itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tunesmith_api.meta import Reason
from tunesmith_api.v1alpha1.status import OutputRecord, VolumePath
from tunesmith_operator.desired import references
from tunesmith_operator.status import stored

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
    from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
    from tunesmith_api.v1alpha1.status import HubModel
    from tunesmith_operator.inputs import Inputs, JobKey, Object


@dataclass(frozen=True)
class Missing:
    """Why what another job made can not be used, or not yet."""

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


_RESUMED = "model.resumeFrom"
Sources = Mapping[str, OutputRecord | Saved]
"""What other jobs made for a job, by the field below spec that names them, such as `model.fromJob`."""


@dataclass(frozen=True)
class Cycle:
    """A way on which a job depends on itself.

    Attributes:
        field: The field below spec that begins it.
        path: The jobs on it, from the job to itself.
    """

    field: str
    path: tuple[JobKey, ...]


def cycle(inputs: Inputs) -> Cycle | None:
    """Return the shortest way on which the job waits for itself; None when there is none.

    One further on is not the job's own: the jobs in it fail, and this one waits for them.
    """
    reached: set[JobKey] = set()
    ways = deque(
        Cycle(field, (inputs.key, other)) for field, other in references.dependencies(inputs.key, inputs.job).items()
    )
    while ways:
        way = ways.popleft()
        end = way.path[-1]
        if end == inputs.key:
            return way
        if end in inputs.jobs and end not in reached:
            reached.add(end)
            onward = references.open_dependencies(end, inputs.jobs[end])
            ways.extend(Cycle(way.field, (*way.path, other)) for other in onward)
    return None


def look(inputs: Inputs, spec: FineTuneJobSpec | AlignmentJobSpec) -> Sources | Missing:
    """Return what other jobs made for this one, by the field below spec that names them, once all of it is there.

    Of what is missing the worst is told: first what only a change of this job mends, then a job that failed.
    """
    found = {
        field: find(inputs, field) if field != _RESUMED else find_checkpoint(inputs, spec)
        for field in references.dependencies(inputs.key, inputs.job)
    }
    missing = [each for each in found.values() if isinstance(each, Missing)]
    if not missing:
        return {field: each for field, each in found.items() if not isinstance(each, Missing)}
    worst = max(missing, key=lambda each: (each.permanent, each.reason is not Reason.WAITING_FOR_JOB))
    alike = dict.fromkeys(each.message for each in missing if each.reason is worst.reason)
    return Missing(worst.reason, " ".join(alike), worst.permanent)


def find(inputs: Inputs, field: str) -> OutputRecord | Missing:
    """Return the output of the job that a field names, such as `model.fromJob`."""
    found = _other_job(inputs, field)
    if isinstance(found, Missing):
        return found
    name, job = found.name, found.job
    if _is_true(job, "Failed"):
        ready = _condition(job, "Failed")
        return Missing(
            Reason.DEPENDENCY_FAILED,
            f"{name} failed ({ready.get('reason', 'unknown reason')}). Correct it and run it again under a new"
            f" spec.runId: this job starts by itself once it is Complete. Or name another job in spec.{field}.",
        )
    status = job.get("status") or {}
    if not _is_true(job, "Complete") or status.get("runId") != references.run_id(job):
        return Missing(Reason.WAITING_FOR_JOB, f"Waiting for {name} to be Complete; {_progress(job)}.")
    return _output(name, status.get("output"))


def find_checkpoint(inputs: Inputs, spec: FineTuneJobSpec | AlignmentJobSpec) -> Saved | Missing:
    """Return the checkpoint that `model.resumeFrom` names, once nothing is written beside it any more."""
    found, wanted_step = _other_job(inputs, _RESUMED), spec.model.resume_from.step if spec.model.resume_from else None
    if isinstance(found, Missing):
        return found
    name, job = found.name, found.job
    if (job.get("spec") or {}).get("method") != spec.method:  # else its steps do not count here
        message = f"spec.model.resumeFrom: {name} has another method than this job. Use model.fromJob to start from it."
        return Missing(Reason.INVALID_SPEC, message, permanent=True)
    if not _is_true(job, "Complete") and not _is_true(job, "Failed"):
        return Missing(Reason.WAITING_FOR_JOB, f"Waiting for {name} to be Complete or Failed; {_progress(job)}.")
    status = stored.read(job.get("status"))
    folders = {record.step: record.path for record in status.checkpoints}
    step = max(folders, default=None) if wanted_step is None else wanted_step
    if step not in folders or status.resolved is None:
        steps = ", ".join(map(str, sorted(folders))) or "none"
        return Missing(
            Reason.WAITING_FOR_JOB,
            f"{name} has no checkpoint{'' if wanted_step is None else f' of step {wanted_step}'}; it has {steps}."
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
    key = references.dependencies(inputs.key, inputs.job).get(field)
    if key is None:
        return Missing(Reason.WAITING_FOR_JOB, f"spec.{field} names no job.")
    job = inputs.jobs.get(key)
    if job is None:
        return Missing(
            Reason.WAITING_FOR_JOB,
            f"Waiting for {key.kind} {key.name}, which does not exist in namespace {key.namespace}. Create it, or"
            f" correct spec.{field}.",
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
