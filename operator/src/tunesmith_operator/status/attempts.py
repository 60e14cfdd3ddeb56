"""The list of attempts in the status: the operator's memory of what it started and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.naming import attempt_name
from tunesmith_api.v1alpha1.status import MAX_ATTEMPTS, MAX_NODES, Attempt, PodIdentity
from tunesmith_operator.status import times
from tunesmith_operator.status.conditions import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from tunesmith_api.progress import Outcome, Progress
    from tunesmith_api.v1alpha1.status import AttemptResult, JobStatus
    from tunesmith_operator.inputs import JobKey
    from tunesmith_operator.status.child import Child
    from tunesmith_operator.status.pods import Pod

MESSAGE_LENGTH = 2048
_PODS_KEPT = 8


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        result: Its class.
        reason: Why, in one word.
        message: Why, for people.
        exit_code: Exit code of the trainer that was the cause, where there was one.
        outcome: What the trainer told last: rank 0's, else that of the pod that was the cause.
    """

    result: AttemptResult
    reason: str
    message: str
    exit_code: int | None = None
    outcome: Outcome | None = None


def newest(status: JobStatus) -> Attempt | None:
    """Return the newest attempt, of whichever run."""
    return status.attempts[-1] if status.attempts else None


def new(key: JobKey, run_id: str, number: int, now: datetime) -> Attempt:
    """Return the record of an attempt whose PyTorchJob is about to be created."""
    return Attempt(
        number=number, run_id=run_id, child=attempt_name(key.kind, key.name, number), start_time=times.render(now)
    )


def adopted(child: Child, now: datetime) -> Attempt:
    """Return the record of an attempt whose PyTorchJob was created by a pass that could not write it down."""
    return Attempt(
        number=child.attempt,
        run_id=child.run_id,
        child=child.name,
        child_uid=child.uid,
        start_time=times.render(child.created or now),
    )


def append(status: JobStatus, attempt: Attempt) -> JobStatus:
    """Return the status with a further attempt; of more than the list can hold the newest are kept."""
    past = tuple(_slim(earlier) for earlier in status.attempts)
    return status.model_copy(update={"attempts": (*past, attempt)[-MAX_ATTEMPTS:]})


def _slim(attempt: Attempt) -> Attempt:
    """Forget the pods of a large past attempt: 64 attempts of 128 pods each would be half a megabyte of status."""
    return attempt.model_copy(update={"pods": ()}) if len(attempt.pods) > _PODS_KEPT else attempt


def replace_newest(status: JobStatus, attempt: Attempt) -> JobStatus:
    """Return the status with the newest attempt's record replaced."""
    return status.model_copy(update={"attempts": (*status.attempts[:-1], attempt)})


def with_pods(attempt: Attempt, pods: Iterable[Pod]) -> Attempt:
    """Return the record with pods that were not known yet; a known index keeps its UID."""
    known = {identity.index: identity for identity in attempt.pods}
    for pod in pods:
        if pod.index < MAX_NODES:
            known.setdefault(pod.index, PodIdentity(index=pod.index, uid=pod.uid))
    return attempt.model_copy(update={"pods": tuple(known[index] for index in sorted(known))})


def with_progress(attempt: Attempt, report: Progress | Outcome) -> Attempt:
    """Return the record with what the trainer told: where it began, how far it came, who trained together."""
    step = report.last_step if hasattr(report, "last_step") else report.current_step
    update: dict[str, object] = {"last_step": max(step, attempt.last_step or 0)}
    if report.resumed_from_step is not None:
        update["resumed_from_step"] = report.resumed_from_step
    if report.world_size is not None:
        update["world_size"] = report.world_size
    return attempt.model_copy(update=update)


def close(attempt: Attempt, ending: Ending, now: datetime) -> Attempt:
    """Return the record of an attempt that has ended."""
    told = attempt if ending.outcome is None else with_progress(attempt, ending.outcome)
    return told.model_copy(
        update={
            "end_time": times.render(now),
            "result": ending.result,
            "reason": ending.reason,
            "message": shorten(ending.message, MESSAGE_LENGTH),
            "exit_code": ending.exit_code,
        }
    )


def with_lost_steps(attempt: Attempt, checkpoint: int | None) -> Attempt:
    """Return the record with the steps that must be trained again.

    Args:
        attempt: The record.
        checkpoint: Step of the newest whole checkpoint; None without any.
    """
    if attempt.last_step is None:
        return attempt
    # A run that went on from another job's checkpoint has lost only what it trained itself.
    safe = checkpoint if checkpoint is not None else attempt.resumed_from_step or 0
    lost = max(0, attempt.last_step - safe)
    return attempt.model_copy(update={"lost_steps": lost})


def disruptions_in_a_row(status: JobStatus, run_id: str) -> int:
    """Return how many of the newest attempts of a run were lost to disruptions, one after the other."""
    count = 0
    for attempt in reversed(status.attempts):
        if attempt.run_id != run_id or attempt.result != "Disrupted":
            break
        count += 1
    return count
