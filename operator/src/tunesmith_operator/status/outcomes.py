"""Reading a trainer's termination message, and what an exit code means. Nothing in a message is trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.pod import TERMINATION_MESSAGE_BYTES
from tunesmith_api.progress import Outcome

if TYPE_CHECKING:
    from tunesmith_operator.inputs import Termination

_KNOWN: dict[int, ExitCode] = {int(code): code for code in ExitCode}
_WORDS_LENGTH = 300
_NO_LOG = "Error on reading termination message"  # the kubelet's own trouble, not the trainer's words
_DISRUPTIVE = frozenset({ExitCode.TERMINATED, ExitCode.FENCED})
_MORE_MEMORY = "Raise resourcesPerNode.limits.memory, or lower training.perDeviceTrainBatchSize or training.maxLength"
_SIGNALS = {
    132: ("IllegalInstruction", "an instruction this CPU does not know: the image may be built for another one"),
    134: ("Aborted", "it aborted itself (SIGABRT)"),
    135: ("BusError", "a bus error (SIGBUS): often /dev/shm is too small"),
    136: ("ArithmeticError", "an arithmetic error (SIGFPE)"),
    137: ("Killed", "it was killed (SIGKILL)"),
    139: ("SegmentationFault", "a segmentation fault (SIGSEGV)"),
}


def read(message: str, attempt: int, pod_uid: str) -> Outcome | None:
    """Return the outcome in a termination message; None when there is none that speaks of this pod and attempt."""
    if len(message.encode()) > TERMINATION_MESSAGE_BYTES:
        return None
    try:
        outcome = Outcome.model_validate_json(message)
    except ValidationError:
        return None
    return outcome if (outcome.attempt, outcome.pod_uid) == (attempt, pod_uid) else None


def is_permanent(code: int) -> bool:
    """Whether an exit code says that another attempt would end the same way.

    Only codes that the trainer uses on purpose: whatever else ends below 128 was not its decision.
    """
    known = _KNOWN.get(code)
    return known is not None and known != ExitCode.SUCCESS and not known.retryable


def is_disruptive(termination: Termination) -> bool:
    """Whether a container was stopped from outside, rather than by a fault of its own."""
    return termination.disrupted or termination.exit_code in _DISRUPTIVE


def is_symptom(termination: Termination) -> bool:
    """Whether a container ended because another one had: the cause lies elsewhere."""
    return termination.exit_code == ExitCode.COLLECTIVE_FAILED


def reason(termination: Termination) -> str:
    """Return one word for how a container ended."""
    if termination.reason == "OOMKilled":
        return "OOMKilled"
    code = termination.exit_code
    if code in _KNOWN:
        return _KNOWN[code].reason
    if code in _SIGNALS:
        return _SIGNALS[code][0]
    return f"ExitCode{code}" if code >= 0 else termination.reason or "PodFailed"


def describe(termination: Termination, outcome: Outcome | None, *, more_memory: str = _MORE_MEMORY) -> str:
    """Return for people how a container ended: in the trainer's words, else in the kubelet's.

    Args:
        termination: How it ended.
        outcome: The trainer's own words, if it left any.
        more_memory: What helps against running out of memory.
    """
    if outcome is not None and outcome.message:
        return outcome.message
    if termination.reason == "OOMKilled":
        return f"the trainer ran out of memory. {more_memory}"
    code = termination.exit_code
    if code < 0:
        return f"the pod failed: {termination.message or termination.reason or 'no reason was told'}"
    meaning = _SIGNALS.get(code, ("", ""))[1]
    words = _last_words(termination.message)
    said = f"; its last words: {words}" if words else ""
    return f"the trainer ended with exit code {code}{f': {meaning}' if meaning else ''}{said}"


def _last_words(message: str) -> str:
    """Return the last line that is not empty: of a log's end it tells most."""
    if message.startswith(_NO_LOG):
        return ""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:_WORDS_LENGTH] if lines else ""
