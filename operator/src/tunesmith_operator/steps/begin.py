"""Beginning an attempt: the first of a run, or the next after one that was lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tunesmith_api.meta import Reason, State
from tunesmith_operator.desired.child import child
from tunesmith_operator.inputs import Create, Decision
from tunesmith_operator.status import attempts, ending, progress, times
from tunesmith_operator.steps import backoff, common
from tunesmith_operator.steps.prepare import prepare

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_operator.status.situation import Situation

_RETRY_SECONDS = 15.0


def next_attempt(situation: Situation) -> Decision | None:
    """Begin the next attempt of a frozen run when none runs."""
    attempt = situation.attempt
    if situation.run is None or (
        attempt is not None and attempt.run_id == situation.run.run_id and not attempt.end_time
    ):
        return None
    return begin(situation, situation.run, run_is_stored=True)


def begin(situation: Situation, run: FrozenRun, *, run_is_stored: bool) -> Decision:
    """Create what an attempt needs, once nothing stands in its way.

    Args:
        situation: What is known about the job.
        run: The frozen run.
        run_is_stored: Whether its ConfigMap exists.
    """
    prepared = prepare(situation, run, run_is_stored=run_is_stored)
    if isinstance(prepared, Decision):
        return prepared
    news = prepared is not situation
    situation = _amend(prepared, run)
    for obstacle in (_former_child, _former_pods, _back_off, *OBSTACLES_TO_CREATION):
        decision = obstacle(situation)
        if decision is not None:
            return decision
    alone = common.freeze_alone(situation, run, run_is_stored=run_is_stored)
    if alone is not None:
        return alone
    # What a preparation found is written down first: once there is an attempt, nobody looks at its pod again.
    first = news or common.follows_another_run(situation)
    return replace(_create(situation, run, run_is_stored=run_is_stored), status_first=first)


def _create(situation: Situation, run: FrozenRun, *, run_is_stored: bool) -> Decision:
    newest = situation.attempt
    number = newest.number + 1 if newest else 1
    actions = (*common.foundation(situation, run, run_is_stored=run_is_stored), Create(child(run, number), "owned"))
    attempt = attempts.new(situation.inputs.key, run.run_id, number, situation.now)
    status = attempts.append(situation.status, attempt).model_copy(
        update={"start_time": situation.status.start_time or times.render(situation.now), "timings": None}
    )
    return common.going(
        situation.with_status(status),
        State.STARTING,
        Reason.CREATING_PODS.value,
        f"attempt {number} is being created as PyTorchJob {attempt.child}",
        actions=actions,
    )


def _amend(situation: Situation, run: FrozenRun) -> Situation:
    """Complete the record of an ended attempt with what its pods told last, such as a checkpoint saved at SIGTERM."""
    attempt = situation.attempt
    if attempt is None or attempt.run_id != run.run_id or attempt.end_time is None:
        return situation
    status = situation.status
    for member in ending.members(attempt, situation.own_pods, situation.inputs.terminations):
        if member.outcome is not None:
            attempt = attempts.with_progress(attempt, member.outcome)
            if member.outcome.checkpoint_steps:
                status = progress.with_checkpoints(status, run, member.outcome)
    attempt = attempts.with_lost_steps(attempt, progress.newest_checkpoint(status))
    return situation.with_status(attempts.replace_newest(status, attempt))


def _former_child(situation: Situation) -> Decision | None:
    if situation.child is None:
        return None
    return _restarting(situation, "its PyTorchJob is being removed", seconds=2.0, remove=True)


def _former_pods(situation: Situation) -> Decision | None:
    """Wait for pods of the last attempt; before the first one for any pod of its name, even one that has ended."""
    fresh = situation.attempt is None
    held = common.held_back(situation, situation.pods if fresh else situation.live_pods)
    if held is None:
        return None
    if fresh:
        message = f"waiting for a pod of an earlier job of this name: {held[0]}"
        return common.waiting(situation, Reason.WAITING_FOR_REMOVAL, message, seconds=held[1])
    return _restarting(situation, held[0], seconds=held[1])


def _back_off(situation: Situation) -> Decision | None:
    attempt = situation.attempt
    ended = times.parse(attempt.end_time) if attempt else None
    if ended is None:
        return None
    delay = backoff.seconds(situation.status, situation.stamp.run_id)
    left = (ended + timedelta(seconds=delay) - situation.now).total_seconds()
    if left <= 0:
        return None
    return _restarting(situation, f"the next attempt begins {delay:.0f} s after the last one", seconds=left)


def _no_training_operator(situation: Situation) -> Decision | None:
    if situation.inputs.training_operator_installed:
        return None
    return common.waiting(
        situation, Reason.TRAINING_OPERATOR_MISSING, TRAINING_OPERATOR_MISSING, seconds=_RETRY_SECONDS
    )


def _restarting(situation: Situation, what: str, *, seconds: float, remove: bool = False) -> Decision:
    attempt = situation.attempt
    story = f"attempt {attempt.number} ended ({attempt.reason}): {attempt.message}" if attempt else ""
    return common.going(
        situation,
        State.RESTARTING,
        Reason.RESTARTING.value,
        f"{common.sentence(story)} {common.sentence(what)}",
        actions=common.delete_child(situation) if remove else (),
        seconds=seconds,
    )


OBSTACLES_TO_CREATION = (_no_training_operator, common.refused)
TRAINING_OPERATOR_MISSING = (
    "this cluster does not know PyTorchJob (kubeflow.org/v1): the Kubeflow training operator is not installed. Install"
    " its version 1.9; the job goes on by itself"
)
