"""What several steps share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.meta import Reason, State
from tunesmith_operator.desired.child import KIND
from tunesmith_operator.desired.claim import claims
from tunesmith_operator.desired.run_config import run_config
from tunesmith_operator.inputs import Create, Decision, Delete
from tunesmith_operator.status import attempts, conditions, preparation, times
from tunesmith_operator.status.ending import LOST_SECONDS

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_operator.status.attempts import Ending
    from tunesmith_operator.status.pods import Pod
    from tunesmith_operator.status.situation import Situation

_RETRY_SECONDS = 15.0
_CONFLICT = 409
_FROZEN_SECONDS = 1.0
LEFTOVER_SECONDS = 2.0
GIVEN_UP_SECONDS = 300
"""How long after its grace period a deleted pod of a lost node holds back the next attempt.

Then the fencing token on the output claim alone keeps the two apart: whatever still runs there can not commit.
"""


def going(
    situation: Situation,
    state: State,
    reason: str,
    message: str,
    *,
    actions: tuple[Create | Delete, ...] = (),
    status_first: bool = False,
    seconds: float | None = None,
    poll: tuple[str, str] | None = None,
) -> Decision:
    """Return the decision of a job that goes forward or waits."""
    status = conditions.under_way(situation.status, situation.stamp, state, reason=reason, message=sentence(message))
    return Decision(status.to_wire(), actions, status_first=status_first, requeue_after=seconds, poll=poll)


def waiting(situation: Situation, reason: Reason, message: str, *, seconds: float | None = None) -> Decision:
    """Return the decision of a job that waits for something outside itself."""
    return going(situation, State.WAITING, reason.value, message, seconds=seconds)


def fail(
    situation: Situation, reason: str, message: str, *, actions: tuple[Delete, ...] = (), final: bool = True
) -> Decision:
    """Return the decision of a job that failed for good.

    What is deleted goes before it is told: a job that is over is hardly looked at any more.

    Args:
        situation: What is known about the job.
        reason: Why, in one word.
        message: Why, for people.
        actions: What is deleted.
        final: Whether it stays so once a run had started; else it is judged anew on every pass.
    """
    status = conditions.failed(situation.status, situation.stamp, reason=reason, message=sentence(message))
    if final and status.start_time is not None:
        status = status.model_copy(update={"completion_time": times.render(situation.now)})
    linger = LOST_SECONDS if situation.live_pods else None
    return Decision(status.to_wire(), actions, requeue_after=linger)


def refused(situation: Situation) -> Decision | None:
    """Tell why the API server refused to create an object earlier in this pass; None when it did not."""
    error = situation.inputs.child_error
    if error is None:
        return None
    if error.leftover:
        return waiting(situation, Reason.WAITING_FOR_REMOVAL, error.message, seconds=LEFTOVER_SECONDS)
    if error.status == _CONFLICT:
        return fail(
            situation,
            Reason.NAME_CONFLICT.value,
            f"an object that the job needs exists and does not belong to it: {error.message.rstrip('.')}. Remove or"
            " rename it, or give the job another name",
            final=False,
        )
    message = (
        f"the API server refuses an object of this job ({error.status} {error.reason}): {error.message.rstrip('.')}. It"
        " is tried again; a quota, a policy or an admission webhook that is down must be put right by who runs it"
    )
    return waiting(situation, Reason.CHILD_REFUSED, message, seconds=_RETRY_SECONDS)


def foundation(situation: Situation, run: FrozenRun, *, run_is_stored: bool) -> tuple[Create, ...]:
    """Return what creates the claims and the frozen run that pods of a run mount, as far as they do not exist."""
    there = situation.inputs.claims
    missing = tuple(Create(claim, adopt="any") for claim in claims(run) if claim["metadata"]["name"] not in there)
    return missing if run_is_stored else (*missing, Create(run_config(run), adopt="owned"))


def follows_another_run(situation: Situation) -> bool:
    """Whether the status knows of attempts or preparations, but tells nothing yet of the run that is to start.

    Until it does, those of the former run are looked at, so that what the new run makes would be overlooked. Hence it
    is frozen first, then told, and then makes something.
    """
    former = situation.status.attempts or situation.status.preparation
    return bool(former) and not situation.told


def freeze_alone(situation: Situation, run: FrozenRun, *, run_is_stored: bool) -> Decision | None:
    """Freeze a run that follows another one, and nothing else; None when that is done, or it is the first."""
    if run_is_stored or not follows_another_run(situation):
        return None
    actions = foundation(situation, run, run_is_stored=False)
    return going(
        situation,
        State.RESTARTING,
        Reason.RESTARTING.value,
        f"run {run.run_id} is being frozen",
        actions=actions,
        seconds=_FROZEN_SECONDS,
    )


def delete_child(situation: Situation) -> tuple[Delete, ...]:
    """Return what removes the newest attempt's PyTorchJob, if it is there."""
    child = situation.child
    return (Delete(KIND, child.name, child.uid),) if child is not None and not child.deleting else ()


def delete_preparation(situation: Situation) -> tuple[Delete, ...]:
    """Return what removes the newest preparation's Job, if it is there."""
    job = situation.batch_job
    return (Delete(job.kind, job.name, job.uid),) if job is not None and not job.deleting else ()


def stopped(situation: Situation, ending: Ending) -> Situation:
    """Record that the attempt and the preparation that are under way are over."""
    status, attempt, record = situation.status, situation.attempt, situation.status.preparation
    if attempt is not None and attempt.end_time is None:
        status = attempts.replace_newest(status, attempts.close(attempt, ending, situation.now))
    if record is not None and record.end_time is None:
        closed = preparation.close(record, ending, situation.now)
        status = status.model_copy(update={"preparation": closed})
    return situation.with_status(status)


def held_back(situation: Situation, pods: tuple[Pod, ...]) -> tuple[str, float] | None:
    """Return which pods hold back the next attempt, for people, and when to look again; None when none does."""
    holding = [pod for pod in pods if not pod.overdue(situation.now, GIVEN_UP_SECONDS)]
    if not holding:
        return None
    pod = holding[0]
    more = f" and {len(holding) - 1} more" if len(holding) > 1 else ""
    if pod.overdue(situation.now, LOST_SECONDS):
        message = (
            f"pod {pod.name}{more} was deleted but does not end: node {pod.node or 'unknown'} may be lost. Bring the"
            f" node back, or once it is off `kubectl delete pod {pod.name} --force --grace-period=0`"
        )
        return message, float(LOST_SECONDS)
    return f"pod {pod.name}{more} is still {'there' if pod.terminal else 'ending'}", 5.0


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter, unless with the name of a field, and ends with a full stop."""
    text = text.strip()
    if not text:
        return text
    first = text[0].upper() if text.split(maxsplit=1)[0].isalpha() else text[0]
    return f"{first}{text[1:]}{'' if text[-1] in '.!?…' else '.'}"
