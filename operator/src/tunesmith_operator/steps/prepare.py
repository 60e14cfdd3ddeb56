"""The preparation: data and model are checked without accelerators, once per run, before its first attempt."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tunesmith_api.meta import Reason, State
from tunesmith_operator.desired.preparation import preparation as desired_job
from tunesmith_operator.inputs import Create, Decision, Delete
from tunesmith_operator.status import preparation, times, waiting
from tunesmith_operator.steps import backoff, common
from tunesmith_operator.steps.end import AGAIN, beyond_limit

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_api.v1alpha1.status import Preparation
    from tunesmith_operator.status.attempts import Ending
    from tunesmith_operator.status.situation import Situation

_DEMANDS = "prepare.resources, prepare.nodeSelector or podTemplate"


def prepare(situation: Situation, run: FrozenRun, *, run_is_stored: bool) -> Decision | Situation:
    """Return the situation once there is nothing to prepare any more, else what to do until then.

    Args:
        situation: What is known about the job.
        run: The frozen run.
        run_is_stored: Whether its ConfigMap exists.
    """
    attempt, record = situation.attempt, situation.status.preparation
    if run.spec.prepare.mode != "always" or (attempt is not None and attempt.run_id == run.run_id):
        return situation
    if record is None or record.run_id != run.run_id:
        return _create(situation, run, run_is_stored=run_is_stored)
    if record.result == "Succeeded":
        return situation
    if record.end_time is None:
        return _go_on(situation, run, record)
    return _before_the_next(situation, record) or _create(situation, run, run_is_stored=run_is_stored)


def _create(situation: Situation, run: FrozenRun, *, run_is_stored: bool) -> Decision:
    """Create the Job of the next preparation, and what its pod mounts."""
    first = common.refused(situation) or common.freeze_alone(situation, run, run_is_stored=run_is_stored)
    if first is not None:
        return first
    former = situation.status.preparation
    number = former.number + 1 if former else 1
    record = preparation.new(situation.inputs.key, run.run_id, number, situation.now)
    started = situation.status.start_time or times.render(situation.now)
    foundation = common.foundation(situation, run, run_is_stored=run_is_stored)
    return _preparing(
        situation.with_status(
            situation.status.model_copy(update={"preparation": record, "start_time": started, "timings": None})
        ),
        f"preparation {number} is being created as Job {record.job}",
        actions=(*foundation, Create(desired_job(run, number), "owned")),
        status_first=common.follows_another_run(situation),
    )


def _go_on(situation: Situation, run: FrozenRun, record: Preparation) -> Decision | Situation:
    """Tell what a preparation waits for or does; once it has ended, what that means for the run."""
    if record.job_uid is None:  # it was written down, but never seen: an earlier pass was cut short
        return common.refused(situation) or _preparing(
            situation,
            f"preparation {record.number} is being created as Job {record.job}",
            actions=(Create(desired_job(run, record.number), "owned"),),
        )
    pod = situation.preparation_pod
    if pod is not None:
        record = record.model_copy(update={"pod_uid": pod.uid})
    terminations = situation.inputs.terminations
    verdict = preparation.judge(record, situation.batch_job, pod, terminations=terminations, now=situation.now)
    if verdict is not None:
        return _end(situation, record, verdict)
    return _watch(situation.with_status(situation.status.model_copy(update={"preparation": record})), record)


def _watch(situation: Situation, record: Preparation) -> Decision:
    pod, job = situation.preparation_pod, situation.batch_job
    if pod is not None and pod.deletion_deadline is not None:
        return _preparing(situation, f"pod {pod.name} of preparation {record.number} is being deleted", seconds=5.0)
    if job is not None:
        scene = waiting.Scene(job, (pod,) if pod else (), 1, situation.inputs.claims, situation.now, _DEMANDS)
        cause = waiting.cause(scene)
        if cause is not None:
            state = State.PREPARING if cause.state is State.STARTING else cause.state
            return common.going(situation, state, cause.reason.value, cause.message, seconds=cause.seconds)
    return _preparing(situation, f"preparation {record.number}: data and model are being checked")


def _end(situation: Situation, record: Preparation, verdict: Ending) -> Decision | Situation:
    """Record how a preparation ended; one that succeeded opens the way to the first attempt."""
    status = situation.status
    counted = {
        "preparation": preparation.close(record, verdict, situation.now),
        "failures": status.failures + (verdict.result == "Crashed"),
        "disruptions": status.disruptions + (verdict.result == "Disrupted"),
    }
    situation = situation.with_status(status.model_copy(update=counted))
    if verdict.result == "Succeeded":
        return situation
    if verdict.result == "Failed":
        return common.fail(situation, verdict.reason, f"{common.sentence(verdict.message)} {AGAIN}")
    return beyond_limit(situation, verdict, what="preparations") or _restart(situation, record, verdict)


def _restart(situation: Situation, record: Preparation, verdict: Ending) -> Decision:
    delay = backoff.seconds_to_prepare(situation.status)
    later = f" The next one begins {delay:.0f} s later" if delay else " The next one begins now"
    return _preparing(
        situation,
        f"preparation {record.number} ended ({verdict.reason}): {common.sentence(verdict.message)}{later}",
        reason=Reason.RESTARTING,
        actions=common.delete_preparation(situation),
        status_first=True,
        seconds=max(1.0, delay),
    )


def _before_the_next(situation: Situation, record: Preparation) -> Decision | None:
    """Remove the Job of a preparation that was lost, and wait as long as the next one must."""
    story = f"preparation {record.number} ended ({record.reason}): {common.sentence(record.message or '')}"
    if situation.batch_job is not None:
        message, actions = f"{story} Its Job is being removed", common.delete_preparation(situation)
        return _preparing(situation, message, reason=Reason.RESTARTING, actions=actions, seconds=2.0)
    ended = times.parse(record.end_time) or situation.now
    delay = backoff.seconds_to_prepare(situation.status)
    left = (ended + timedelta(seconds=delay) - situation.now).total_seconds()
    if left <= 0:
        return None
    message = f"{story} The next one begins {delay:.0f} s after it"
    return _preparing(situation, message, reason=Reason.RESTARTING, seconds=left)


def _preparing(
    situation: Situation,
    message: str,
    *,
    reason: Reason = Reason.PREPARING,
    actions: tuple[Create | Delete, ...] = (),
    status_first: bool = False,
    seconds: float | None = None,
) -> Decision:
    return common.going(
        situation,
        State.PREPARING,
        reason.value,
        message,
        actions=actions,
        status_first=status_first,
        seconds=seconds,
    )
