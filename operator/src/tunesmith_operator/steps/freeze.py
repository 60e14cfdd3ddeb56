"""A run that is not frozen yet: may it start, and from what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.meta import Reason
from tunesmith_operator import policies
from tunesmith_operator.desired import dependencies, metadata, run_config
from tunesmith_operator.desired.freeze import Ingredients
from tunesmith_operator.desired.freeze import freeze as freeze_run
from tunesmith_operator.inputs import Create, Decision
from tunesmith_operator.status.attempts import Ending
from tunesmith_operator.status.resolved import resolved
from tunesmith_operator.steps import common
from tunesmith_operator.steps.begin import begin

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_operator.status.situation import Situation

_LOOK_AGAIN_SECONDS = 15.0  # claims and ConfigMaps are not watched
_UNREADABLE_SECONDS = 300.0


def refuse_strangers(situation: Situation) -> Decision | None:
    """Stop when an object of a name that the job needs belongs to somebody else."""
    for obj in situation.strangers():
        name = f"{obj.get('kind', 'object')} {obj.get('metadata', {}).get('name')}"
        if metadata.is_leftover(obj, situation.inputs.key.kind, situation.inputs.key.name):
            message = f"{name} of an earlier job of this name is still being removed"
            return common.waiting(situation, Reason.WAITING_FOR_REMOVAL, message, seconds=common.LEFTOVER_SECONDS)
        return common.fail(situation, Reason.NAME_CONFLICT.value, conflict(name), final=False)
    return None


def conflict(name: str) -> str:
    """Return the message about an object that stands in the way."""
    return f"{name} exists and does not belong to this job. Remove or rename it, or give the job another name."


def refuse_unreadable_run(situation: Situation) -> Decision | None:
    """Wait when another version's frozen run can not be read: what runs goes on, and nothing is started on a guess."""
    if not situation.run_problem:
        return None
    message = (
        f"this operator ({situation.inputs.operator_version}) can not read the ConfigMap of run"
        f" {situation.stamp.run_id}: {situation.run_problem}. Go back to the operator version that wrote it, or set a"
        " new spec.runId"
    )
    return common.waiting(situation, Reason.RUN_CONFIG_INVALID, message, seconds=_UNREADABLE_SECONDS)


def freeze(situation: Situation) -> Decision | None:
    """Freeze a run and begin its first attempt, unless something speaks against it."""
    if situation.run is not None:
        return None
    if _was_started(situation):
        return _restore(situation)
    found = _resolve(situation)
    if isinstance(found, policies.Finding):
        if found.permanent:
            return common.fail(situation, found.reason.value, found.message)
        return common.waiting(situation, found.reason, found.message, seconds=_LOOK_AGAIN_SECONDS)
    status = situation.status.model_copy(update={"resolved": resolved(found)})
    return begin(situation.with_status(status), found, run_is_stored=False)


def _resolve(situation: Situation) -> FrozenRun | policies.Finding:
    inputs = situation.inputs
    spec = policies.parse_spec(inputs)
    if isinstance(spec, policies.Finding):
        return spec
    finding = policies.first_finding(policies.Candidate(inputs, spec))
    if finding is not None:
        return finding
    sources = dependencies.look(inputs, spec)
    assert not isinstance(sources, dependencies.Missing)  # noqa: S101 - else a policy has found it
    return freeze_run(
        Ingredients(
            key=inputs.key,
            uid=situation.uid,
            run_id=situation.stamp.run_id,
            generation=situation.stamp.generation,
            spec=spec,
            profile=inputs.profiles[spec.accelerator],
            sources=sources,
            operator_version=inputs.operator_version,
        )
    )


def _was_started(situation: Situation) -> bool:
    """Whether an attempt or a preparation of this run has been seen, so that its ConfigMap must have been there."""
    attempt, record, run_id = situation.attempt, situation.status.preparation, situation.stamp.run_id
    trained = attempt is not None and attempt.run_id == run_id and attempt.child_uid is not None
    return trained or (record is not None and record.run_id == run_id and record.job_uid is not None)


def _restore(situation: Situation) -> Decision:
    """Make a deleted run ConfigMap again, if that gives the very run that attempt or preparation was made from.

    The spec can not have changed, but the installation's profiles, its defaults or the other job's output can have.
    """
    refusal = common.refused(situation)
    if refusal is not None:
        return refusal
    found = _resolve(situation)
    if isinstance(found, policies.Finding):
        return _lost(situation, found.message)
    witness = situation.child or situation.batch_job
    if witness is None or witness.run_digest != run_config.digest(found):
        return _lost(situation, "defaults, accelerator profile or the other job's output may have changed since")
    create = Create(run_config.run_config(found), adopt="owned")
    return Decision(situation.status.to_wire(), (create,), requeue_after=1.0)


def _lost(situation: Situation, why: str) -> Decision:
    ending = Ending("Failed", Reason.RUN_CONFIG_LOST.value, "its run can not be read any more")
    message = (
        f"the ConfigMap of run {situation.stamp.run_id} was deleted and can not be made again as it was: {why}"
        f"{'' if why.endswith('.') else '.'} Set a new spec.runId to start a fresh run"
    )
    return common.fail(
        common.stopped(situation, ending),
        Reason.RUN_CONFIG_LOST.value,
        message,
        actions=(*common.delete_child(situation), *common.delete_preparation(situation)),
    )
