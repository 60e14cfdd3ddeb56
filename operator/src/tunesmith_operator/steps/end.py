"""An attempt that has ended: what it means for the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from tunesmith_api.meta import Reason, State
from tunesmith_api.v1alpha1.compute import RunPolicy
from tunesmith_operator.inputs import Decision
from tunesmith_operator.status import attempts, conditions, ending, output, progress, times
from tunesmith_operator.status.attempts import Ending
from tunesmith_operator.steps import backoff, common

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_operator.status.situation import Situation

AGAIN = "Put it right and set a new spec.runId to start a fresh run."


def end_attempt(situation: Situation) -> Decision | None:
    """Record how the newest attempt ended, and end the run or make way for the next attempt."""
    run, attempt = situation.run, situation.attempt
    if run is None or attempt is None:
        return None
    verdict = judge(situation)
    if not isinstance(verdict, Ending):
        return None
    if verdict.result == "Succeeded":
        return _succeed(situation, run, verdict)
    situation = _recorded(situation, run, verdict)
    if verdict.result == "Failed":
        return common.fail(situation, verdict.reason, f"{common.sentence(verdict.message)} {AGAIN}")
    return beyond_limit(situation, verdict) or _restart(situation, verdict)


def judge(situation: Situation) -> Ending | ending.Undecided | None:
    """Return how the newest attempt ended; None while it runs."""
    run, attempt = situation.run, situation.attempt
    if run is None or attempt is None:
        return None
    known = attempts.with_pods(attempt, situation.own_pods)
    return ending.judge(
        ending.members(known, situation.own_pods, situation.inputs.terminations),
        run.spec.num_nodes,
        situation.child,
        # Where PyTorchJob is unknown nothing can be said about one.
        started=attempt.child_uid is not None and situation.inputs.training_operator_installed,
        now=situation.now,
    )


def _recorded(situation: Situation, run: FrozenRun, verdict: Ending) -> Situation:
    """Close the newest attempt in the status and count it."""
    status, attempt = situation.status, situation.attempt
    if attempt is None:
        return situation
    if verdict.outcome is not None:
        status = progress.with_checkpoints(status, run, verdict.outcome) if verdict.outcome.checkpoint_steps else status
        done = verdict.result == "Succeeded"
        if done or verdict.outcome.total_steps is not None:  # else it ended before it knew how far to go
            told = progress.from_outcome(verdict.outcome, status.progress, situation.now, done=done)
            status = status.model_copy(update={"progress": told})
    closed = attempts.close(attempts.with_pods(attempt, situation.own_pods), verdict, situation.now)
    if verdict.result != "Succeeded":
        closed = attempts.with_lost_steps(closed, progress.newest_checkpoint(status))
    counted = {
        "failures": status.failures + (verdict.result == "Crashed"),
        "disruptions": status.disruptions + (verdict.result == "Disrupted"),
        "timings": progress.timings(
            situation.child, situation.own_pods, verdict.outcome.seconds if verdict.outcome else None, status.timings
        ),
    }
    return situation.with_status(attempts.replace_newest(status, closed).model_copy(update=counted))


def _succeed(situation: Situation, run: FrozenRun, verdict: Ending) -> Decision:
    saved = verdict.outcome.output if verdict.outcome else None
    record = output.record(run, saved) if saved else None
    if record is None:
        message = "the trainer ended well, but what it told about its output can not be true"
        invalid = Ending("Crashed", "OutcomeInvalid", message, verdict.exit_code)
        situation = _recorded(situation, run, invalid)
        return beyond_limit(situation, invalid) or _restart(situation, invalid)
    situation = _recorded(situation, run, verdict)
    status = situation.status.model_copy(update={"output": record, "completion_time": times.render(situation.now)})
    steps = status.progress.current_step if status.progress else None
    message = f"The {record.kind} of run {run.run_id} is on claim {record.claim} at {record.path}, after {steps} steps."
    return Decision(conditions.complete(status, situation.stamp, message=message).to_wire())


def beyond_limit(situation: Situation, verdict: Ending, *, what: str = "attempts") -> Decision | None:
    """Fail the job once too many of its attempts, or of its preparations, have crashed or were lost."""
    status, policy = situation.status, _run_policy(situation)
    last = f"The last one ({verdict.reason}): {common.sentence(verdict.message)}"
    if verdict.result == "Crashed" and status.failures > policy.backoff_limit:
        message = f"{status.failures} {what} crashed; runPolicy.backoffLimit is {policy.backoff_limit}. {last} {AGAIN}"
        return common.fail(situation, Reason.BACKOFF_LIMIT_EXCEEDED.value, message)
    if verdict.result == "Disrupted" and status.disruptions > policy.max_disruptions:
        message = (
            f"{status.disruptions} {what} were disrupted; runPolicy.maxDisruptions is {policy.max_disruptions}."
            f" {last} {AGAIN}"
        )
        return common.fail(situation, Reason.TOO_MANY_DISRUPTIONS.value, message)
    return None


def _restart(situation: Situation, verdict: Ending) -> Decision:
    attempt = situation.attempt
    checkpoint = progress.newest_checkpoint(situation.status)
    onward = f"the checkpoint of step {checkpoint}" if checkpoint is not None else "the beginning"
    delay = backoff.seconds(situation.status, situation.stamp.run_id)
    return common.going(
        situation,
        State.RESTARTING,
        Reason.RESTARTING.value,
        f"attempt {attempt.number if attempt else 0} ended ({verdict.reason}): {common.sentence(verdict.message)}"
        f" The next one goes on from {onward}{f', {delay:.0f} s later' if delay else ''}",
        actions=common.delete_child(situation),
        status_first=True,
        seconds=max(1.0, delay),
    )


def _run_policy(situation: Situation) -> RunPolicy:
    """Return the policy that the spec states now: it may change while a run is under way."""
    try:
        return RunPolicy.model_validate((situation.inputs.job.get("spec") or {}).get("runPolicy") or {})
    except ValidationError:
        return situation.run.spec.run_policy if situation.run else RunPolicy()
