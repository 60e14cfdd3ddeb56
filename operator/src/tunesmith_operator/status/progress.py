"""Progress, timings and checkpoints in the status, from what the trainer reports. Nothing in a report is trusted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunesmith_api.figures import ranked
from tunesmith_api.v1alpha1.status import CheckpointRecord, JobProgress, Metric, Timings
from tunesmith_operator.status import times

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tunesmith_api.progress import Outcome, Progress, SpentSeconds
    from tunesmith_api.run import FrozenRun
    from tunesmith_api.v1alpha1.status import JobStatus
    from tunesmith_operator.status.child import Child
    from tunesmith_operator.status.pods import Pod

_MOST_METRICS = 32
_MOST_CHECKPOINTS = 16
_SUMMED_UP = ("reward", "loss")
"""What a line has room for: the reward of a policy that has one, else the loss."""
_BOOKKEEPING = frozenset({"epoch", "total_flos", "train_runtime", "train_samples_per_second", "train_steps_per_second"})
"""What Transformers logs beside the figures of training: said elsewhere in the status, or of no use to its reader."""
_LONGEST_ETA = 10**10
_UNREAD_PHASES = frozenset({"starting", "loading"})
"""Before training the trainer has not looked at the claim's checkpoints yet: an empty list then says nothing."""


def from_report(report: Progress, received: datetime) -> JobProgress:
    """Return the progress that a running trainer reports."""
    eta = report.estimated_remaining_seconds
    return JobProgress(
        progress_percentage=_percentage(report.current_step, report.total_steps),
        estimated_remaining_seconds=None if eta is None or not math.isfinite(eta) else min(round(eta), _LONGEST_ETA),
        current_step=report.current_step,
        total_steps=report.total_steps,
        epoch=_number(report.epoch),
        metrics=metrics(report.metrics),
        last_updated_time=times.render(received),
    )


def from_outcome(outcome: Outcome, before: JobProgress | None, now: datetime, *, done: bool) -> JobProgress:
    """Return the last progress of an attempt.

    Args:
        outcome: What the trainer told when it ended.
        before: The progress known so far.
        now: The time.
        done: Whether the run is complete.
    """
    known = metrics(outcome.metrics) or (before.metrics if before else ())
    return JobProgress(
        progress_percentage=100 if done else _percentage(outcome.last_step, outcome.total_steps),
        estimated_remaining_seconds=0 if done else None,
        current_step=outcome.last_step,
        total_steps=outcome.total_steps
        if outcome.total_steps is not None
        else (before.total_steps if before else None),
        epoch=_number(outcome.epoch),
        metrics=known,
        last_updated_time=times.render(now),
    )


def metrics(values: Mapping[str, float]) -> tuple[Metric, ...]:
    """Return figures as the status shows them: of four significant digits, the most telling first, only finite ones."""
    finite = {name: value for name, value in values.items() if math.isfinite(value) and name not in _BOOKKEEPING}
    return tuple(Metric(name=name, value=_number(finite[name])) for name in ranked(finite)[:_MOST_METRICS])


def with_checkpoints(status: JobStatus, run: FrozenRun, report: Progress | Outcome) -> JobStatus:
    """Return the status with the whole checkpoints that a report names; one from before training changes nothing."""
    steps = sorted(set(report.checkpoint_steps))[-_MOST_CHECKPOINTS:]
    if not steps and getattr(report, "phase", "") in _UNREAD_PHASES:
        return status
    records = tuple(CheckpointRecord(step=step, path=f"{run.directory}/checkpoints/step-{step:08d}") for step in steps)
    return status.model_copy(update={"checkpoints": records})


def newest_checkpoint(status: JobStatus) -> int | None:
    """Return the step of the newest whole checkpoint; None without any."""
    return status.checkpoints[-1].step if status.checkpoints else None


def timings(
    child: Child | None, pods: tuple[Pod, ...], spent: SpentSeconds | None, before: Timings | None
) -> Timings | None:
    """Return where the time of an attempt went, as far as it is known; None when nothing is.

    Args:
        child: The attempt's PyTorchJob.
        pods: Its pods.
        spent: What the trainer counted, if it has told.
        before: What was known so far of the same attempt.
    """
    scheduled = min((pod.scheduled for pod in pods if pod.scheduled), default=None)
    first = next((pod for pod in pods if pod.index == 0), None)
    known: dict[str, float | None] = {
        "queued": times.seconds_between(child.created if child else None, scheduled),
        "pulling": times.seconds_between(first.scheduled, first.started) if first else None,
    }
    if spent is not None:
        for name in ("initialising", "training", "checkpointing", "evaluating"):
            seconds = getattr(spent, name)
            # What was counted before is not taken back by a last word that leaves the counts out.
            counted = max(round(seconds, 1), getattr(before, name, None) or 0.0) if math.isfinite(seconds) else None
            known[name] = counted or None
    update = {name: value for name, value in known.items() if value is not None}
    return (before or Timings()).model_copy(update=update) if update or before else None


def describe(progress: JobProgress) -> str:
    """Return the progress in one line for people: step, reward or loss, time left."""
    of = f" of {progress.total_steps}" if progress.total_steps is not None else ""
    parts = [f"step {progress.current_step or 0}{of}"]
    known = {metric.name: metric.value for metric in progress.metrics}
    parts += [f"{name} {known[name]}" for name in _SUMMED_UP if name in known][:1]
    if progress.estimated_remaining_seconds is not None:
        parts.append(f"about {_duration(progress.estimated_remaining_seconds)} left")
    return ", ".join(parts)


def _duration(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} s"


def _percentage(step: int, total: int | None) -> int | None:
    return min(100, 100 * step // total) if total else None


def _number(value: float) -> str:
    return f"{value:.4g}"
