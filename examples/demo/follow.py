"""One live line per job, read from its status, until it is Complete; a diagnosis when it is not."""

import sys
import time
from dataclasses import dataclass

from kube import Kubectl, Object

_POLL_SECONDS = 1.0
_QUIET_SECONDS = 15.0  # without a terminal an unchanged line is repeated this seldom


class JobFailedError(RuntimeError):
    """A job Failed or took too long; the message tells what the cluster knows about it."""


@dataclass(frozen=True)
class Job:
    """A job to follow.

    Attributes:
        resource: `finetunejob` or `alignmentjob`.
        name: Its name.
    """

    resource: str
    name: str


def follow(kubectl: Kubectl, job: Job, limit: float) -> Object:
    """Print the job's progress until it is Complete, and return it.

    Args:
        kubectl: kubectl in the job's namespace.
        job: The job.
        limit: Seconds after which it counts as failed.

    Raises:
        JobFailedError: The job Failed, is gone, or took longer than the limit.
    """
    line = _Line()
    started = time.monotonic()
    while True:
        current = kubectl.get(job.resource, job.name)
        if current is None:
            line.end()
            raise JobFailedError(f"{job.resource} {job.name} is gone: somebody deleted it")
        elapsed = time.monotonic() - started
        line.show(describe(current), elapsed)
        if condition(current, "Complete") == "True":
            line.end()
            return current
        if condition(current, "Failed") == "True" or elapsed > limit:
            line.end()
            problem = "Failed" if elapsed <= limit else f"was not Complete after {limit:.0f} s"
            raise JobFailedError(f"{job.resource} {job.name} {problem}\n{diagnosis(kubectl, job)}")
        time.sleep(_POLL_SECONDS)


def condition(job: Object, kind: str) -> str:
    """Return the status of a condition: `True`, `False`, `Unknown`, or empty when it is not there."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((str(each["status"]) for each in conditions if each["type"] == kind), "")


def describe(job: Object) -> str:
    """Return the job's status in one line."""
    status = job.get("status", {})
    progress = status.get("progress", {})
    metrics = {each["name"]: each["value"] for each in progress.get("metrics", [])}
    parts = [f"{job['metadata']['name']:10}", f"{status.get('state', 'Pending'):10}"]
    if "progressPercentage" in progress:
        parts.append(f"{progress['progressPercentage']:3} %")
    if progress.get("totalSteps"):
        parts.append(f"step {progress.get('currentStep', 0)}/{progress['totalSteps']}")
    parts.extend(f"{name.replace('_', ' ')} {metrics[name]}" for name in ("loss", "eval_loss") if name in metrics)
    if progress.get("estimatedRemainingSeconds"):
        parts.append(f"ETA {progress['estimatedRemainingSeconds']} s")
    if "progressPercentage" not in progress:
        parts.append(_waiting_for(status))
    return "  ".join(parts)


def _waiting_for(status: Object) -> str:
    ready = next((each for each in status.get("conditions", []) if each["type"] == "Ready"), None)
    return str(ready["message"]).splitlines()[0][:100] if ready and ready["message"] else ""


def diagnosis(kubectl: Kubectl, job: Job) -> str:
    """Return what the cluster tells about a job and its pods."""
    selector = f"tunesmith.dev/job-name={job.name}"
    return "\n".join(
        (
            kubectl.try_to("describe", job.resource, job.name),
            kubectl.try_to("get", "pytorchjobs,pods,persistentvolumeclaims", "--output", "wide"),
            kubectl.try_to("get", "events", "--sort-by", ".lastTimestamp"),
            kubectl.try_to("logs", "--selector", selector, "--tail", "40", "--prefix"),
        )
    )


class _Line:
    """The line that is rewritten in a terminal; elsewhere each change is a line of its own."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = ""
        self._printed = 0.0

    def show(self, text: str, elapsed: float) -> None:
        now = time.monotonic()
        if self._terminal:
            print(f"\r\033[K   {elapsed:4.0f} s  {text}"[:160], end="", flush=True)
        elif text != self._last or now - self._printed > _QUIET_SECONDS:
            print(f"   {elapsed:4.0f} s  {text}", flush=True)
            self._printed = now
        self._last = text

    def end(self) -> None:
        if self._terminal:
            print(flush=True)
