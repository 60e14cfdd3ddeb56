"""The only process of a preparation's pod: checks in a bounded time, and says how it ended."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from tunesmith_api import pod
from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.progress import Outcome, Progress
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.errors import TrainerError, as_trainer_error
from tunesmith_trainer.outcome import outcome_of, publish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger(__name__)


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Check the run's data and model; return the exit code."""

    def stop(_: int, __: FrameType | None) -> None:
        _end(environment, ExitCode.TERMINATED, "Told to stop while data and model were being checked")

    for number in _STOPS:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)  # `__main__` holds them back until here
    _log.info("checking data and model")
    try:
        context = RunContext.from_environment(environment)
        deadline = end_after(context.run.spec.prepare.timeout_seconds, environment)
        outcome = prepared(context)
        deadline.cancel()
    except TrainerError as error:
        outcome = _outcome(environment, error.exit_code, str(error))
    publish(outcome, environment)
    return outcome.exit_code


def end_after(seconds: float, environment: Mapping[str, str]) -> threading.Timer:
    """End the process with a message once its time is over, whatever it is doing; return what can be cancelled."""
    timer = threading.Timer(seconds, _end, (environment, ExitCode.PREPARATION_TIMEOUT, _too_long(seconds)))
    timer.daemon = True
    timer.start()
    return timer


def _end(environment: Mapping[str, str], code: ExitCode, message: str) -> None:
    publish(_outcome(environment, code, message), environment)
    sys.stdout.flush()
    # At once and from any thread: what hangs may be a read from a volume, which nothing interrupts.
    os._exit(code)


def prepared(context: RunContext) -> Outcome:
    """Check, and return how it ended, whatever happens."""
    unknown = Progress(attempt=context.attempt, pod_uid=context.pod_uid, phase="loading")
    try:
        from tunesmith_trainer.preparation.checks import check
        from tunesmith_trainer.preparation.report import summary

        report = check(context)
    except Exception as error:  # noqa: BLE001 - the edge: whatever happens becomes an outcome
        known = as_trainer_error(error, world_size=1)
        if known is not error:
            _log.exception("the preparation failed")
        return outcome_of(unknown, known.exit_code, str(known))
    done = outcome_of(unknown, ExitCode.SUCCESS, summary(report, context.run.spec.training.max_length))
    return done.model_copy(update={"preparation": report})


def _outcome(environment: Mapping[str, str], code: ExitCode, message: str) -> Outcome:
    known = Progress(
        attempt=int(environment.get(pod.ENV_ATTEMPT) or 1),
        pod_uid=environment.get(pod.ENV_POD_UID, ""),
        phase="loading",
    )
    return outcome_of(known, code, message)


def _too_long(seconds: float) -> str:
    return (
        f"Checking data and model took longer than the {seconds:.0f} s of spec.prepare.timeoutSeconds; raise it, ask"
        " for more in spec.prepare.resources, or set spec.prepare.mode: never to train unchecked"
    )
