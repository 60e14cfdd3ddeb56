"""What a job takes from other jobs: found, not there yet, or not to be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tunesmith_api.meta import Reason
from tunesmith_api.v1alpha1.status import OutputRecord, VolumePath
from tunesmith_operator.desired import gates, references
from tunesmith_operator.status import stored

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
    from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
    from tunesmith_api.v1alpha1.gate import Gate
    from tunesmith_api.v1alpha1.model import ResumeFrom
    from tunesmith_api.v1alpha1.status import HubModel
    from tunesmith_operator.inputs import Inputs, JobKey, Object


@dataclass(frozen=True)
class Missing:
    """Why what another job made can not be used, or not yet."""

    reason: Reason
    message: str
    permanent: bool = False
    """Whether it is not on its way: somebody has to change this job, or the other one."""


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


def look(inputs: Inputs, spec: FineTuneJobSpec | AlignmentJobSpec) -> Sources | Missing:
    """Return what other jobs made for this one, by the field below spec that names them, once all of it is there.

    Of what is missing the worst is told: a job that failed, or is not as good as asked, before one that is on its way.
    """
    found: dict[str, OutputRecord | Saved | Missing] = {
        field: _admitted(inputs, field, block.gate) for field, block in spec.from_jobs.items()
    }
    if spec.model.resume_from is not None:
        found[_RESUMED] = _checkpoint(inputs, spec.model.resume_from, spec.method)
    missing = [each for each in found.values() if isinstance(each, Missing)]
    if not missing:
        return {field: each for field, each in found.items() if not isinstance(each, Missing)}
    worst = max(missing, key=lambda each: each.permanent)
    alike = " ".join(each.message for each in missing if each.reason is worst.reason)
    return Missing(worst.reason, alike, worst.permanent)


def find(inputs: Inputs, field: str) -> OutputRecord | Missing:
    """Return the output of the job that a field names, such as `model.fromJob`."""
    found = _other_job(inputs, field)
    if isinstance(found, Missing):
        return found
    name, job = found.name, found.job
    if found.ended("Failed"):
        return Missing(
            Reason.DEPENDENCY_FAILED, f"spec.{field}: {_failure(name, job)} Or name another job.", permanent=True
        )
    if not found.ended("Complete"):
        return Missing(Reason.WAITING_FOR_JOB, f"spec.{field} waits for {name} to be Complete; {_progress(job)}.")
    return _output(name, (job.get("status") or {}).get("output"))


def _failure(name: str, job: Object) -> str:
    reason = _condition(job, "Failed").get("reason", "unknown reason")
    if (job.get("status") or {}).get("completionTime"):
        return (
            f"{name} failed ({reason}). Correct it and run it again under a new spec.runId: this job starts by itself"
            " once it is Complete."
        )
    return f"{name} can not start ({reason}). Correct it: this job starts by itself once it is Complete."


def _admitted(inputs: Inputs, field: str, gate: Gate | None) -> OutputRecord | Missing:
    """Return the output that a field names, unless it is not as good as the field's gate asks."""
    found, key = find(inputs, field), references.dependencies(inputs.key, inputs.job)[field]
    if gate is None or isinstance(found, Missing):
        return found
    unmet = gates.unmet(gate, f"{key.kind} {key.name}", inputs.jobs[key], field)
    return found if unmet is None else Missing(Reason.GATE_NOT_MET, unmet, permanent=True)


def _checkpoint(inputs: Inputs, wanted: ResumeFrom, method: str) -> Saved | Missing:
    """Return the checkpoint that `model.resumeFrom` names, once nothing is written beside it any more."""
    found = _other_job(inputs, _RESUMED)
    if isinstance(found, Missing):
        return found
    name, job = found.name, found.job
    if (job.get("spec") or {}).get("method") != method:  # else its steps do not count here
        message = f"spec.model.resumeFrom: {name} has another method than this job. Use model.fromJob to start from it."
        return Missing(Reason.INVALID_SPEC, message, permanent=True)
    end = next((each for each in ("Complete", "Failed") if found.ended(each)), None)
    if end is None:
        return Missing(
            Reason.WAITING_FOR_JOB, f"spec.{_RESUMED} waits for {name} to be Complete or Failed; {_progress(job)}."
        )
    status = stored.read(job.get("status"))
    folders = {record.step: record.path for record in status.checkpoints}
    step = max(folders, default=None) if wanted.step is None else wanted.step
    if step not in folders or status.resolved is None:
        steps = ", ".join(map(str, sorted(folders))) or "none"
        what = "no checkpoint" if wanted.step is None else f"no checkpoint of step {wanted.step}"
        return Missing(
            Reason.DEPENDENCY_FAILED,
            f"spec.{_RESUMED}: {name} is {end} and has {what}; it has {steps}. Name another step or job, or run that"
            " one again under a new spec.runId: this job starts by itself once the checkpoint is there.",
            permanent=True,
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

    def ended(self, condition: str) -> bool:
        """Return whether the run that its spec asks for ended with a condition: one before it does not count."""
        status = self.job.get("status") or {}
        return status.get("runId") == references.run_id(self.job) and _is_true(self.job, condition)


def _other_job(inputs: Inputs, field: str) -> _Other | Missing:
    key = references.dependencies(inputs.key, inputs.job).get(field)
    if key is None:
        return Missing(Reason.WAITING_FOR_JOB, f"spec.{field} names no job.")
    job = inputs.jobs.get(key)
    if job is None:
        return Missing(
            Reason.WAITING_FOR_JOB,
            f"spec.{field} waits for {key.kind} {key.name}, which does not exist in namespace {key.namespace}."
            " Create it, or name another one.",
        )
    return _Other(key, job)


def _progress(job: Object) -> str:
    status, wanted = job.get("status") or {}, references.run_id(job)
    if status.get("runId") not in {None, wanted}:
        return f"its run {wanted} has not begun"
    reason = f" ({_condition(job, 'Ready').get('reason')})" if status.get("state") == "Waiting" else ""
    return f"it is {status.get('state') or 'new'}{reason}"


def _output(name: str, record: Any) -> OutputRecord | Missing:
    try:
        output = OutputRecord.model_validate(record)
    except ValidationError:
        output = None
    if output is None or (output.kind == "adapter" and (output.base_model is None or output.base_model.model is None)):
        return Missing(
            Reason.DEPENDENCY_FAILED,
            f"{name} is Complete, but its status.output does not tell what to load. Run it again under a new"
            " spec.runId: this job starts by itself once it is Complete.",
            permanent=True,
        )
    return output


def _is_true(job: Object, condition: str) -> bool:
    return _condition(job, condition).get("status") == "True"


def _condition(job: Object, kind: str) -> Mapping[str, Any]:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})
