"""The last word of a pod: which of its processes tells what happened, cut to what a termination message holds."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.figures import is_headline, ranked
from tunesmith_api.pod import TERMINATION_LOG, TERMINATION_MESSAGE_BYTES
from tunesmith_api.progress import Outcome, Progress, SavedOutput
from tunesmith_api.v1alpha1.preparation import PreparationReport
from tunesmith_trainer.context import ENV_ROOT
from tunesmith_trainer.errors import readable
from tunesmith_trainer.exchange import Result

_MESSAGE_CHARACTERS = 2048
_KEPT_STEPS = 16
_KEPT_METRICS = 6
_KEPT_FINDINGS = 8
_FIRST_SIGNAL = 128
_FAILURES = frozenset(ExitCode) - {ExitCode.SUCCESS}
_REMEDIES = {
    signal.SIGKILL: "often the memory limit: raise resourcesPerNode.limits.memory, or lower"
    " training.perDeviceTrainBatchSize or training.maxLength",
    signal.SIGBUS: "often a full /dev/shm",
    signal.SIGILL: "an instruction this CPU does not know: the image may be built for another one",
}


_log = logging.getLogger(__name__)


def publish(outcome: Outcome, environment: Mapping[str, str]) -> None:
    """Log how the pod ends, and leave it as the termination message."""
    level = logging.INFO if outcome.exit_code == ExitCode.SUCCESS else logging.ERROR
    _log.log(level, "%s (exit code %d): %s", outcome.reason, outcome.exit_code, outcome.message)
    message = Path(environment.get(ENV_ROOT, "/")) / TERMINATION_LOG.lstrip("/")
    try:
        message.write_bytes(encode(outcome))
    except OSError as error:
        _log.warning("the termination message could not be written: %s", error)


def outcome_of(
    progress: Progress, code: ExitCode, message: str, output: SavedOutput | None = None, *, exit_code: int | None = None
) -> Outcome:
    """Return an outcome with what is known of the progress.

    Args:
        progress: How far it came.
        code: How it ended.
        message: The same for people.
        output: The result, when there is one.
        exit_code: The number to exit with, where it is one that `code` only stands for.
    """
    known = progress.model_dump(
        include={
            "attempt",
            "pod_uid",
            "total_steps",
            "epoch",
            "metrics",
            "resumed_from_step",
            "checkpoint_steps",
            "world_size",
        }
    )
    return Outcome(
        **known,
        last_step=progress.current_step,
        seconds=progress.seconds,
        exit_code=int(code) if exit_code is None else exit_code,
        reason=code.reason,
        message=_cut(readable(message), _MESSAGE_CHARACTERS),
        output=output,
    )


def compose(progress: Progress, results: Sequence[Result], status: int, *, stopped: bool) -> Outcome:
    """Return how a pod ended.

    A process that says why it failed is believed before one that only lost the others, and that before the bare status.

    Args:
        progress: The last that was told.
        results: The last words of the processes, earliest first.
        status: Exit code of the process that failed first, 0 when none did.
        stopped: Whether the pod was told to stop.
    """
    failed = [result.outcome for result in results if result.outcome.exit_code != ExitCode.SUCCESS]
    lost = [outcome for outcome in failed if outcome.exit_code == ExitCode.COLLECTIVE_FAILED]
    causes = [outcome for outcome in failed if outcome.exit_code != ExitCode.COLLECTIVE_FAILED]
    if status == 0 and not failed and results:
        return min(results, key=lambda result: result.rank).outcome
    if causes:
        return _with_checkpoints(causes[0], progress)
    if stopped:
        return outcome_of(progress, ExitCode.TERMINATED, _stop_message(progress))
    if lost and status in {ExitCode.COLLECTIVE_FAILED, _FIRST_SIGNAL + signal.SIGTERM}:
        return _with_checkpoints(lost[0], progress)
    return _by_status(progress, status)


def _with_checkpoints(outcome: Outcome, progress: Progress) -> Outcome:
    """Return a process's outcome with the checkpoints, which rank 0 alone knows and tells while it runs."""
    steps = outcome.checkpoint_steps or progress.checkpoint_steps
    return outcome.model_copy(update={"checkpoint_steps": steps})


def encode(outcome: Outcome) -> bytes:
    """Return the termination message: JSON of at most 4,096 bytes, for the kubelet cuts what is longer."""
    body = _json(outcome)
    if len(body) <= TERMINATION_MESSAGE_BYTES:
        return body
    watched = [name for name in ranked(outcome.metrics) if is_headline(name)]
    kept = {name: outcome.metrics[name] for name in watched[:_KEPT_METRICS]}
    outcome = outcome.model_copy(update={"metrics": kept, "checkpoint_steps": outcome.checkpoint_steps[-_KEPT_STEPS:]})
    for report in _shorter(outcome.preparation):
        outcome = outcome.model_copy(update={"preparation": report})
        if len(body := _json(outcome)) <= TERMINATION_MESSAGE_BYTES:
            return body
    length = len(outcome.message)
    while len(body := _json(outcome)) > TERMINATION_MESSAGE_BYTES and length > 0:
        length = length * 3 // 4
        outcome = outcome.model_copy(update={"message": _cut(outcome.message, length)})
    return body


def _shorter(report: PreparationReport | None) -> Iterator[PreparationReport]:
    """Yield a report with ever less that the whole one, on the claim, tells too."""
    if report is None:
        return
    for findings, warnings in ((_KEPT_FINDINGS, None), (_KEPT_FINDINGS, 1), (0, 1), (0, 0)):
        yield report.model_copy(update={"datasets": report.datasets[:findings], "warnings": report.warnings[:warnings]})


def _json(outcome: Outcome) -> bytes:
    return outcome.model_dump_json(by_alias=True, exclude_none=True).encode()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"


def _stop_message(progress: Progress) -> str:
    newest = max(progress.checkpoint_steps, default=None)
    saved = "there is no checkpoint yet" if newest is None else f"the newest checkpoint is that of step {newest}"
    return f"Told to stop while {progress.phase}, at step {progress.current_step}; {saved}"


def _by_status(progress: Progress, status: int) -> Outcome:
    """Return the outcome of processes that left no word."""
    try:
        number = signal.Signals(status - _FIRST_SIGNAL)
    except ValueError:
        known = ExitCode(status) if status in _FAILURES else ExitCode.INTERNAL_ERROR
        name = f" ({known.reason})" if status == known else ""
        text = f"A training process ended with exit code {status}{name} and said nothing; the pod's log may tell more"
        return outcome_of(progress, known, text)
    remedy = _REMEDIES.get(number, "the pod's log may tell more")
    where = f"while {progress.phase}, at step {progress.current_step}"
    text = f"A training process was ended by {number.name} {where}: {remedy}"
    code = ExitCode.SIGKILLED if number == signal.SIGKILL else ExitCode.INTERNAL_ERROR
    return outcome_of(progress, code, text, exit_code=status)
