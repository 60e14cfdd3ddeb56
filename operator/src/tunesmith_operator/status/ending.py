"""Whether an attempt has ended, and why: the first cause among its pods and its PyTorchJob.

Permanent failures count above all, since another attempt would end the same way. Among the rest the first cause is
looked for: a pod that dies takes its peers with it, and the training operator deletes the pods that still run once one
has failed, so most of what is seen are consequences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tunesmith_operator.status import outcomes
from tunesmith_operator.status.attempts import Ending

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tunesmith_api.progress import Outcome
    from tunesmith_api.v1alpha1.status import Attempt
    from tunesmith_operator.inputs import Termination
    from tunesmith_operator.status.child import Child
    from tunesmith_operator.status.pods import Pod

SYMPTOM_SECONDS = 60
"""How long a pod that lost its peers may wait for the peers' own story."""
LOST_SECONDS = 60
"""How long after its grace period a deleted pod may linger before its node is taken for lost."""
PEER_SECONDS = 300
"""How long the other pods may take to end once rank 0 has."""


@dataclass(frozen=True)
class Member:
    """One pod of an attempt: what is left of it, and how it ended."""

    child: str
    index: int
    uid: str
    pod: Pod | None
    termination: Termination | None
    outcome: Outcome | None

    @property
    def name(self) -> str:
        """Name of the pod, as the training operator makes it."""
        return f"{self.child}-worker-{self.index}"

    @property
    def gone(self) -> bool:
        """Whether it vanished without a trace."""
        return self.pod is None and self.termination is None

    @property
    def failed(self) -> bool:
        """Whether its container ended badly."""
        return self.termination is not None and self.termination.exit_code != 0

    def stuck(self, now: datetime) -> bool:
        """Whether it was deleted and does not end: its node is lost."""
        return self.pod is not None and self.pod.overdue(now, LOST_SECONDS)

    @property
    def lives(self) -> bool:
        """Whether something of it may still run."""
        return self.pod is not None and not self.pod.terminal


@dataclass(frozen=True)
class Undecided:
    """Something has ended, but the whole story may still show.

    Attributes:
        message: What has ended, for people.
        seconds: How long it is waited for at most.
    """

    message: str
    seconds: float


def members(attempt: Attempt, pods: tuple[Pod, ...], terminations: Mapping[str, Termination]) -> tuple[Member, ...]:
    """Return the pods of an attempt: those whose UIDs it has recorded, and no others."""
    seen = {pod.uid: pod for pod in pods}
    found = []
    for identity in attempt.pods:
        pod = seen.get(identity.uid)
        ended = terminations.get(identity.uid) or (pod.termination if pod else None)
        outcome = outcomes.read(ended.message, attempt.number, identity.uid) if ended else None
        found.append(Member(attempt.child, identity.index, identity.uid, pod, ended, outcome))
    return tuple(found)


def judge(
    group: tuple[Member, ...], nodes: int, child: Child | None, *, started: bool, now: datetime
) -> Ending | Undecided | None:
    """Return how the attempt ended; None while it runs.

    Args:
        group: Its pods.
        nodes: How many pods it must have.
        child: Its PyTorchJob, if it is there.
        started: Whether that PyTorchJob has been seen before.
        now: The time.
    """
    permanent = [
        member for member in group if member.termination and outcomes.is_permanent(member.termination.exit_code)
    ]
    if permanent:
        return _of_member(permanent[0], "Failed")
    if success := _success(group, nodes):
        return success
    broken = [member for member in group if member.failed or member.gone or member.stuck(now)]
    if broken:
        return _first_cause(group, broken, child, now)
    if started and (child is None or child.deleting):
        return _child_gone(group)
    if child is not None and child.failure and not group:
        return Ending("Crashed", "ChildFailed", f"the training operator failed its PyTorchJob: {child.failure}")
    return _rank_zero_waits(group, now)


def _success(group: tuple[Member, ...], nodes: int) -> Ending | None:
    if len(group) < nodes or any(m.termination is None or m.termination.exit_code != 0 for m in group):
        return None
    outcome = group[0].outcome
    if outcome is None or outcome.output is None:
        return Ending(
            "Disrupted",
            "OutcomeMissing",
            "every trainer ended well, but the record of the output did not arrive; the next attempt verifies it",
            exit_code=0,
        )
    return Ending("Succeeded", "Succeeded", outcome.message, exit_code=0, outcome=outcome)


def _first_cause(
    group: tuple[Member, ...], broken: list[Member], child: Child | None, now: datetime
) -> Ending | Undecided:
    symptoms = [m for m in broken if m.termination and outcomes.is_symptom(m.termination)]
    causes = [m for m in broken if m not in symptoms]
    disrupted = [m for m in causes if m.termination is None or outcomes.is_disruptive(m.termination)]
    crashed = [m for m in causes if m not in disrupted]
    if crashed and not (disrupted and not _came_first(crashed, disrupted)):
        return _of_member(min(crashed, key=_finished), "Crashed", rank_zero=group[0])
    if disrupted:
        return _disruption(disrupted[0], child, rank_zero=group[0])
    lost = next(
        (m for m in group if m.pod is not None and m.lives and m.pod.node_lost and m.pod.deletion_deadline is None),
        None,
    )
    if lost is not None and lost.pod is not None:
        return replace(_node_lost(lost), outcome=symptoms[0].outcome)
    return _wait_for_cause(group, symptoms, now)


def _wait_for_cause(group: tuple[Member, ...], symptoms: list[Member], now: datetime) -> Ending | Undecided:
    """Return the symptom as the cause once every pod has ended, or none has told more in time."""
    first = min(symptoms, key=_finished)
    finished = first.termination.finished if first.termination else None
    left = SYMPTOM_SECONDS - (now - finished).total_seconds() if finished else 0.0
    if left > 0 and any(member.lives for member in group):
        return Undecided(f"pod {first.name} has lost its peers; one of them may still tell why", left)
    return _of_member(first, "Crashed", rank_zero=group[0])


def _came_first(crashed: list[Member], disrupted: list[Member]) -> bool:
    """Whether a crash came before every deletion, which then was the training operator's clean-up."""
    deletions = [m.termination.deletion_requested if m.termination else None for m in disrupted]
    first = min((m.termination.finished for m in crashed if m.termination and m.termination.finished), default=None)
    return first is not None and all(moment is not None and first <= moment for moment in deletions)


def _finished(member: Member) -> float:
    finished = member.termination.finished if member.termination else None
    return finished.timestamp() if finished else float("inf")


def _disruption(member: Member, child: Child | None, *, rank_zero: Member) -> Ending:
    if child is None or child.deleting:
        ended = _child_gone((rank_zero,))
    elif member.pod is not None and member.termination is None:
        ended = _node_lost(member)
    elif member.gone:
        ended = Ending("Disrupted", "PodGone", f"pod {member.name} was deleted, or its node was lost")
    else:
        ended = _stopped(member)
    code = ended.exit_code
    if code is None and member.termination and member.termination.exit_code >= 0:
        code = member.termination.exit_code
    return Ending(ended.result, ended.reason, ended.message, code, rank_zero.outcome or member.outcome)


def _node_lost(member: Member) -> Ending:
    node = member.pod.node if member.pod else ""
    return Ending("Disrupted", "NodeLost", f"node {node or 'unknown'} of pod {member.name} does not answer any more")


def _stopped(member: Member) -> Ending:
    """Name who stopped a pod, where the pod tells."""
    ended, termination = _of_member(member, "Disrupted"), member.termination
    if termination is None or not (termination.disruption or termination.deletion_requested):
        return ended
    reason = termination.disruption or "PodDeleted"
    how = f"was evicted ({reason})" if termination.disruption else "was deleted"
    return Ending("Disrupted", reason, f"pod {member.name} {how}: {ended.message}", ended.exit_code)


def _child_gone(group: tuple[Member, ...]) -> Ending:
    outcome = group[0].outcome if group else None
    return Ending("Disrupted", "ChildDeleted", "its PyTorchJob was deleted", outcome=outcome)


def _of_member(member: Member, result: str, *, rank_zero: Member | None = None) -> Ending:
    termination = member.termination
    if termination is None:
        raise ValueError(f"pod {member.uid} has not ended")
    return Ending(
        result="Failed" if result == "Failed" else "Crashed" if result == "Crashed" else "Disrupted",
        reason=outcomes.reason(termination),
        message=outcomes.describe(termination, member.outcome),
        exit_code=termination.exit_code if termination.exit_code >= 0 else None,
        outcome=(rank_zero.outcome if rank_zero else None) or member.outcome,
    )


def _rank_zero_waits(group: tuple[Member, ...], now: datetime) -> Ending | Undecided | None:
    """Bound the time that pods may go on after rank 0 has ended well."""
    first = next((member for member in group if member.index == 0), None)
    if first is None or first.termination is None or first.termination.finished is None:
        return None
    left = (first.termination.finished + timedelta(seconds=PEER_SECONDS) - now).total_seconds()
    if left > 0:
        return Undecided("rank 0 has ended well; the other pods are about to", left)
    others = ", ".join(member.name for member in group if member.lives)
    return Ending(
        "Crashed",
        "PeersStuck",
        f"rank 0 ended {PEER_SECONDS} s ago, but these pods still run: {others}",
        outcome=first.outcome,
    )
