"""Run the fast tests, the slow ones, then those end to end on a local cluster.

A cluster that this run brings up it also takes down, however it ends; one that was up before stays up. With
CLUSTER=current in the environment the cluster of the current kubectl context is used and never touched as a whole.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_ROOT = Path(__file__).resolve().parent.parent
_CLUSTER = (sys.executable, "tests/cluster")
_PYTEST = str(_ROOT / ".build" / "venv" / "bin" / "pytest")


@dataclass(frozen=True)
class Step:
    """One command of the run.

    Attributes:
        title: What it does, for the reader of the output.
        command: The command, run in the repository's root.
        limit: Seconds after which it is stopped and counts as failed.
    """

    title: str
    command: tuple[str, ...]
    limit: float


FAST = Step("tests that need no cluster", ("make", "--no-print-directory", "test-fast"), 1200)
SLOW = Step("longer tests that need no cluster", ("make", "--no-print-directory", "test-slow"), 1800)
UP = Step("local cluster up", (*_CLUSTER, "up"), 3600)
IMAGES = Step("images", (*_CLUSTER, "images"), 3600)
END_TO_END = Step("end to end", (_PYTEST, "tests/e2e"), 3600)
DOWN = Step("local cluster down", (*_CLUSTER, "down"), 300)


def run(step: Step) -> int:
    """Run a step and return its exit status; 124 when it took too long.

    A step that is left early, by a signal or by its limit, is interrupted with everything it started and gets a minute
    to end.
    """
    print(f"==> {step.title}: {' '.join(step.command)}", flush=True)
    started = time.monotonic()
    # In a process group of its own, so that no compiler or pytest worker is left behind.
    with subprocess.Popen(step.command, cwd=_ROOT, stdin=subprocess.DEVNULL, process_group=0) as process:
        try:
            status = process.wait(step.limit)
        except subprocess.TimeoutExpired:
            print(f"{step.title}: stopped after its limit of {step.limit:.0f} s", file=sys.stderr, flush=True)
            status = 124
        finally:
            _end(process)
    print(f"==> {step.title}: exit status {status} after {time.monotonic() - started:.0f} s", flush=True)
    return status


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        print("still there after a minute: killed", file=sys.stderr, flush=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def first_failure(*steps: Step) -> int:
    """Run steps until one fails and return the last exit status."""
    for step in steps:
        if status := run(step):
            return status
    return 0


def cluster_is_up() -> bool:
    """Whether a local cluster was already running."""
    command = [*_CLUSTER, "status"]
    result = subprocess.run(command, cwd=_ROOT, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    return result.returncode == 0


def run_on_local_cluster() -> int:
    """Run the end-to-end tests on the local cluster, brought up and taken down unless it was up."""
    if cluster_is_up():
        return first_failure(IMAGES, END_TO_END)
    try:
        status = first_failure(UP, IMAGES, END_TO_END)
    finally:
        # A second signal must not leave half a cluster behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        down = run(DOWN)
    return status or down


def _stop(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    """Run them and return the exit status of the first step that failed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    if status := first_failure(FAST, SLOW):
        return status
    if os.environ.get("CLUSTER") == "current":
        return run(END_TO_END)
    return run_on_local_cluster()


if __name__ == "__main__":
    sys.exit(main())
