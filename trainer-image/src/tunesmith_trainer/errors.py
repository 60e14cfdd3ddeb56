"""How a run ends when it does not succeed: each error knows its exit code and says what to do."""

from __future__ import annotations

import errno
import traceback
from typing import ClassVar

from tunesmith_api.exitcodes import ExitCode

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_SIGNS = ("os error 28", "os error 122", "No space left on device")
_TORCH_SAVE_SIGN = "enforce fail at inline_container.cc"
_COLLECTIVE_SIGNS = (
    "gloo",
    "nccl",
    "connection closed by peer",
    "connection reset by peer",
    "socket timeout",
    "process group",
    "tcpstore",
)


class TrainerError(Exception):
    """The root: its text is the message a user reads, without a traceback."""

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL_ERROR


class InvalidSpec(TrainerError):
    """The spec asks for something that can not be done."""

    exit_code = ExitCode.INVALID_SPEC


class DataError(TrainerError):
    """The data is missing or not what it should be: the text names file, row and remedy."""

    exit_code = ExitCode.DATA_ERROR


class ModelNotFound(TrainerError):
    """The model is missing or not whole."""

    exit_code = ExitCode.MODEL_NOT_FOUND


class GatedModel(TrainerError):
    """The Hub does not let the job have the model."""

    exit_code = ExitCode.GATED_MODEL


class OutputConflict(TrainerError):
    """The output path belongs to another job."""

    exit_code = ExitCode.OUTPUT_CONFLICT


class DiskFull(TrainerError):
    """A volume has no room left."""

    exit_code = ExitCode.DISK_FULL


class WorldSizeMismatch(TrainerError):
    """Another number of processes came together than the spec says."""

    exit_code = ExitCode.WORLD_SIZE_MISMATCH


class Stopped(TrainerError):
    """The pod was told to stop."""

    exit_code = ExitCode.TERMINATED


class Fenced(TrainerError):
    """Another pod or a newer attempt owns the run: this one must not write."""

    exit_code = ExitCode.FENCED


class CollectiveFailed(TrainerError):
    """The processes lost each other; the cause is in another pod."""

    exit_code = ExitCode.COLLECTIVE_FAILED


class SourceUnreachable(TrainerError):
    """A server that a dataset's uri names does not answer, or fails itself: it may be better in a while."""

    exit_code = ExitCode.SOURCE_UNREACHABLE


class HubUnreachable(TrainerError):
    """The Hub does not answer, or answers with a failure of its own: it may be better in a while."""

    exit_code = ExitCode.HUB_UNREACHABLE


def as_trainer_error(error: BaseException, *, world_size: int) -> TrainerError:
    """Return any exception as one that has an exit code and a message without a traceback.

    Args:
        error: What was raised.
        world_size: Number of processes; one alone can not lose the others.
    """
    if isinstance(error, TrainerError):
        return error
    text = first_line(error)
    if is_disk_full(error):
        return DiskFull(f"No space left on a volume: {text}")
    if world_size > 1 and isinstance(error, RuntimeError) and any(sign in text.lower() for sign in _COLLECTIVE_SIGNS):
        return CollectiveFailed(f"The processes lost each other: {text}; the cause is in another pod or process")
    return TrainerError(f"{type(error).__name__}: {text} ({_place(error)}); the pod's log has the traceback")


def is_disk_full(error: BaseException) -> bool:
    """Return whether an exception says that a volume has no room left."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    # Of what safetensors and tokenizers meet, only the text reaches Python.
    return any(sign in str(error) for sign in _FULL_SIGNS)


def is_failed_save(error: BaseException) -> bool:
    """Return whether torch.save could not write; it does not say why."""
    return _TORCH_SAVE_SIGN in str(error)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type when it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def readable(text: str) -> str:
    """Return a text that can be written as UTF-8, escapes in place of what can not.

    A file's name may be any bytes, and Python keeps those that are no UTF-8 as halves of characters.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "unknown place"
