"""An attempt that is under way: its pods, what they wait for, how far they are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tunesmith_api.meta import Reason, State
from tunesmith_operator.desired.child import child
from tunesmith_operator.inputs import Create
from tunesmith_operator.status import attempts, ending, progress, waiting
from tunesmith_operator.steps import begin, common
from tunesmith_operator.steps.end import judge

if TYPE_CHECKING:
    from tunesmith_api.progress import Progress
    from tunesmith_api.run import FrozenRun
    from tunesmith_operator.inputs import Decision
    from tunesmith_operator.status.pods import Pod
    from tunesmith_operator.status.situation import Situation

_LOADING = frozenset({"starting", "loading"})
_ASIDE = {"evaluating": "; evaluating", "checkpointing": "; saving a checkpoint", "saving": "; saving the result"}


def create_again(situation: Situation) -> Decision | None:
    """Create the PyTorchJob of an attempt that was written down but never seen: an earlier pass was cut short."""
    run, attempt = situation.run, situation.attempt
    if run is None or attempt is None or attempt.child_uid is not None:
        return None
    for obstacle in begin.OBSTACLES_TO_CREATION:
        decision = obstacle(situation)
        if decision is not None:
            return decision
    message = f"attempt {attempt.number} is being created as PyTorchJob {attempt.child}"
    create = Create(child(run, attempt.number), adopt="owned")
    return common.going(situation, State.STARTING, Reason.CREATING_PODS.value, message, actions=(create,))


def watch(situation: Situation) -> Decision:
    """Tell what the attempt waits for, else how far it is."""
    run = situation.run
    if run is None:
        raise ValueError("an attempt without a frozen run can not be watched")
    situation = _told(situation, run)
    verdict = judge(situation)
    if isinstance(verdict, ending.Undecided):
        return common.going(
            situation,
            State.RUNNING,
            Reason.TRAINING.value,
            verdict.message,
            seconds=verdict.seconds,
            poll=_poll(situation),
        )
    state, reason, message, seconds = _tell(situation, run)
    return common.going(situation, state, reason.value, message, seconds=seconds, poll=_poll(situation))


def _told(situation: Situation, run: FrozenRun) -> Situation:
    """Take over what pods and trainer tell about themselves."""
    attempt = situation.attempt
    if attempt is None:
        return situation
    status, report = situation.status, report_of(situation)
    attempt = attempts.with_pods(attempt, situation.own_pods)
    update: dict[str, object] = {}
    if report is not None and situation.inputs.sample is not None:
        status = progress.with_checkpoints(status, run, report)
        if report.phase not in _LOADING:
            attempt = attempts.with_progress(attempt, report)
            update["progress"] = progress.from_report(report, situation.inputs.sample.received)
    spent = report.seconds if report is not None else None
    update["timings"] = progress.timings(situation.child, situation.own_pods, spent, status.timings)
    return situation.with_status(attempts.replace_newest(status, attempt).model_copy(update=update))


def report_of(situation: Situation) -> Progress | None:
    """Return the last report, if it comes from rank 0 of this very attempt."""
    sample, attempt = situation.inputs.sample, situation.attempt
    if sample is None or attempt is None or sample.progress.attempt != attempt.number:
        return None
    uids = {identity.uid for identity in attempt.pods if identity.index == 0}
    uids |= {pod.uid for pod in situation.own_pods if pod.index == 0 and not attempt.pods}
    return sample.progress if sample.progress.pod_uid in uids else None


def _tell(situation: Situation, run: FrozenRun) -> tuple[State, Reason, str, float | None]:
    if not situation.inputs.training_operator_installed:
        return State.WAITING, Reason.TRAINING_OPERATOR_MISSING, begin.TRAINING_OPERATOR_MISSING, None
    going = next((pod for pod in situation.own_pods if pod.deletion_deadline and not pod.terminal), None)
    if going is not None and going.deletion_deadline is not None:
        lost = going.deletion_deadline + timedelta(seconds=ending.LOST_SECONDS)
        left = max(1.0, (lost - situation.now).total_seconds())
        message = f"pod {going.name} is being deleted; its trainer may save a checkpoint before it ends"
        return State.RESTARTING, Reason.RESTARTING, message, left
    if situation.child is not None:
        scene = waiting.Scene(
            situation.child, situation.own_pods, run.spec.num_nodes, situation.inputs.claims, situation.now
        )
        cause = waiting.cause(scene)
        if cause is not None:
            return cause.state, cause.reason, cause.message, cause.seconds
    return *_training(situation), None


def _training(situation: Situation) -> tuple[State, Reason, str]:
    attempt, report, known = situation.attempt, report_of(situation), situation.status.progress
    number = attempt.number if attempt else 0
    if report is None and (attempt is None or attempt.last_step is None or known is None):
        return State.STARTING, Reason.STARTING, f"attempt {number}: the trainer has been started"
    if known is None or (report is not None and report.phase in _LOADING):
        return State.STARTING, Reason.STARTING, f"attempt {number}: the trainer is loading model and data"
    if report is not None and report.phase == "evaluating" and report.total_steps is None:
        # The held-out loss before the first step; loading goes on after it.
        return State.STARTING, Reason.STARTING, f"attempt {number}: the trainer is evaluating before the first step"
    aside = _ASIDE.get(report.phase, "") if report is not None else ""
    return State.RUNNING, Reason.TRAINING, f"{progress.describe(known)}{aside}"


def _poll(situation: Situation) -> tuple[str, str] | None:
    """Return where rank 0 answers: the recorded pod, not one that took its place."""
    attempt = situation.attempt
    uids = {identity.uid for identity in attempt.pods if identity.index == 0} if attempt else set()
    first = next((pod for pod in situation.own_pods if pod.uid in uids and _answers(pod)), None)
    return (first.uid, first.ip) if first is not None else None


def _answers(pod: Pod) -> bool:
    return pod.running and bool(pod.ip) and pod.termination is None
