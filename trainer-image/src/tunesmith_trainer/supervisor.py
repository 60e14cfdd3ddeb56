"""The pod's first process: starts the training processes, answers for them, and says how they ended.

It imports no torch, so that it answers from the pod's first second, and lives when a training process is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from tunesmith_api import pod
from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.progress import Outcome, Progress
from tunesmith_trainer import launcher
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.errors import TrainerError, as_trainer_error
from tunesmith_trainer.exchange import Exchange, now
from tunesmith_trainer.outcome import compose, outcome_of, publish
from tunesmith_trainer.server import ProgressServer

ENV_PORT = "TUNESMITH_PROGRESS_PORT"
"""Port of `/progress` and `/metrics`; set by tests alone."""

_STOPS = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS = 0.1
_KILL_MARGIN_SECONDS = 5.0  # before the kubelet's SIGKILL, so that there is time for the last word
_END_SECONDS = 3.0
_SAVING = frozenset({"training", "checkpointing", "saving", "finished"})
_log = logging.getLogger(__name__)


class Supervisor:
    """One pod of one attempt."""

    def __init__(self, context: RunContext, environment: Mapping[str, str]) -> None:
        self._context = context
        self._environment = environment
        self._exchange = Exchange.create()
        self._told_to_stop = threading.Event()
        self._stopped_at: float | None = None
        self._killed = False

    def stop(self, signum: int, _: FrameType | None) -> None:
        """Take note of SIGTERM or SIGINT; the rest happens outside of the signal's handler."""
        _log.info("told to stop by %s", signal.Signals(signum).name)
        self._told_to_stop.set()

    def run(self) -> Outcome:
        """Run the training processes to their end and return how it was."""
        server = self._serve()
        try:
            launcher.wait_for_first_node(self._context.run, self._environment, self._told_to_stop.wait)
            if self._told_to_stop.is_set():
                return self._outcome(ExitCode.TERMINATED, "Told to stop before the training processes were started")
            status = self._train()
            return compose(self._progress(), self._exchange.read_results(), status, stopped=self._told_to_stop.is_set())
        finally:
            if server:
                server.stop()
            shutil.rmtree(self._exchange.folder, ignore_errors=True)

    def _serve(self) -> ProgressServer | None:
        run = self._context.run
        labels = {"namespace": run.namespace, "kind": run.kind, "job": run.name, "method": run.spec.method}
        try:
            server = ProgressServer(self._progress, labels, int(self._environment.get(ENV_PORT) or pod.PROGRESS_PORT))
        except OSError as error:
            # With the host's network another pod may have the port: training goes on, only nobody sees how far it is.
            _log.warning("no progress is served: %s", error)
            return None
        server.start()
        return server

    def _progress(self) -> Progress:
        beat = self._exchange.read_beat()
        progress = (
            beat.progress
            if beat
            else Progress(attempt=self._context.attempt, pod_uid=self._context.pod_uid, phase="starting")
        )
        age = max(0.0, now() - (beat.heartbeat if beat else self._exchange.started))
        return progress.model_copy(update={"seconds_since_heartbeat": age})

    def _outcome(self, code: ExitCode, message: str) -> Outcome:
        return outcome_of(self._progress(), code, message)

    def _train(self) -> int:
        """Run the training processes, return the exit code of the one that counts."""
        environment = launcher.child_environment(self._context.run, self._environment)
        child = subprocess.Popen(  # noqa: S603 - our own program
            launcher.command(self._context.run, self._environment),
            env=environment | self._exchange.environment(),
            start_new_session=True,
        )
        status: int | None = None
        try:
            while status is None and not self._killed:
                self._watch(child)
                status = child.poll()
        finally:
            if not self._killed:
                _kill(child)
        # In the middle of a write one may outlive SIGKILL for a while: its end is not waited for.
        return launcher.exit_code(-signal.SIGKILL if status is None else status)

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        """Wait a little; see to it that processes that were told to stop do."""
        if self._stopped_at is None:
            if self._told_to_stop.wait(_POLL_SECONDS):
                self._stopped_at = now()
                self._exchange.order_stop()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_SECONDS)
            return
        waited = now() - self._stopped_at
        if not self._saves() or waited > launcher.grace_seconds(self._environment) - _KILL_MARGIN_SECONDS:
            _kill(child)
            self._killed = True

    def _saves(self) -> bool:
        """Whether waiting for the training processes to stop by themselves saves something."""
        beat = self._exchange.read_beat()
        return beat is not None and (beat.trained_since_save or beat.progress.phase in _SAVING)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End a child and all its descendants; whatever counts on the volume is whole already."""
    # torchrun gives each training process a session of its own: the child's group does not hold them.
    descendants = _descendants(child.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for descendant in descendants:
        with contextlib.suppress(ProcessLookupError):
            os.kill(descendant, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_END_SECONDS)


def _descendants(parent: int) -> list[int]:
    """Return the processes below one that still runs."""
    found: list[int] = []
    pending = [parent]
    while pending:
        for listing in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                pending += (children := [int(child) for child in listing.read_text(encoding="ascii").split()])
                found += children
    return found


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Supervise the pod's training processes; return the exit code."""
    outcome = _supervise(environment)
    publish(outcome, environment)
    return outcome.exit_code


def _supervise(environment: Mapping[str, str]) -> Outcome:
    context: RunContext | None = None
    try:
        context = RunContext.from_environment(environment)
        supervisor = Supervisor(context, environment)
        for number in _STOPS:
            signal.signal(number, supervisor.stop)
        # `__main__` holds them back until here; no child may inherit that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        return supervisor.run()
    except Exception as error:  # noqa: BLE001 - the edge: whatever happens becomes an outcome
        if not isinstance(error, TrainerError):
            _log.exception("the supervisor failed")
        known = as_trainer_error(error, world_size=1)
        unknown = Progress(
            attempt=int(environment.get(pod.ENV_ATTEMPT) or 1),
            pod_uid=environment.get(pod.ENV_POD_UID, ""),
            phase="starting",
        )
        return outcome_of(unknown, known.exit_code, str(known))
