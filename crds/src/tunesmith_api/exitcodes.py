"""Exit codes of the trainer. They are part of the API: below 128 permanent, from 128 on retryable."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

RETRYABLE_FROM = 128


class ExitCode(IntEnum):
    """Every exit code the trainer uses on purpose.

    The split at 128 is the one that Kubeflow's `restartPolicy: ExitCode` knows, so other tools read it the same way.

    Attributes:
        reason: The condition reason (PascalCase) this code stands for.
        meaning: What happened, in a sentence for the API reference.
    """

    reason: str
    meaning: str

    def __new__(cls, code: int, reason: str = "", meaning: str = "") -> Self:
        """Make a member that is its number and carries its reason and meaning; `ExitCode(10)` looks one up."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        member.meaning = meaning
        return member

    SUCCESS = 0, "Succeeded", "The output is on the claim, whole."
    INVALID_SPEC = 10, "InvalidSpec", "The spec asks for something the trainer or this model can not do."
    DATA_ERROR = 11, "DataError", "A dataset can not be used: the message names file, row and remedy."
    MODEL_NOT_FOUND = 12, "ModelNotFound", "The model is missing, or is none that can be loaded."
    GATED_MODEL = 13, "GatedModel", "The Hub does not let the token have the model: the message says what to do."
    OUTPUT_CONFLICT = 14, "OutputConflict", "The output path holds the result of another job."
    DISK_FULL = 15, "DiskFull", "The output claim is full."
    WORLD_SIZE_MISMATCH = 16, "WorldSizeMismatch", "Other than numNodes × numProcPerNode processes came together."
    PREPARATION_TIMEOUT = 17, "PreparationTimeout", "The preparation took longer than prepare.timeoutSeconds."
    SIGKILLED = 137, "Killed", "The kernel or the node killed the trainer."
    TERMINATED = 143, "Terminated", "The trainer was told to stop and saved a checkpoint if it could."
    FENCED = 200, "Fenced", "A newer attempt of the run has taken over the output claim."
    COLLECTIVE_FAILED = 201, "CollectiveFailed", "The processes lost each other."
    HUB_UNREACHABLE = 202, "HubUnreachable", "The Hugging Face Hub, or the mirror that stands for it, does not answer."
    SOURCE_UNREACHABLE = 204, "SourceUnreachable", "A server that a dataset's uri names does not answer."
    INTERNAL_ERROR = 203, "InternalError", "The trainer met something it did not expect."

    @property
    def retryable(self) -> bool:
        """Whether another attempt of the same run may succeed."""
        return self >= RETRYABLE_FROM
