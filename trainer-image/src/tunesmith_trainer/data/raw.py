"""One row as its file has it, and the words for what is wrong with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tunesmith_trainer.errors import DataError


@dataclass(frozen=True)
class RawRow:
    """One row as the file has it.

    Attributes:
        file: The file's name for messages.
        position: Where in the file, such as `line 17`.
        values: The columns.
    """

    file: str
    position: str
    values: dict[str, Any]

    def error(self, problem: str, remedy: str) -> DataError:
        """Return the error that this row is wrong."""
        return DataError(f"{self.file}, {self.position}: {problem}; {remedy}")


def describe(value: object) -> str:
    """Return what a value is, in the words of JSON where it has them."""
    names: tuple[tuple[type, str], ...] = (
        (type(None), "null"),
        (bool, "a boolean"),
        (str, "a string"),
        (int, "a number"),
        (float, "a number"),
        (list, "an array"),
        (dict, "an object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), f"a {type(value).__name__}")


def denied(name: str) -> DataError:
    """Return the error that the pod's user may not read what it is told to.

    Args:
        name: The file or folder, for messages.
    """
    return DataError(
        f"{name} can not be read by this pod: its user {os.geteuid()} has no permission; let everyone or the pod's"
        " group read it (chmod -R a+rX), or set runAsUser or fsGroup in securityContext of the accelerator profile"
    )


def is_damage(error: Exception) -> bool:
    """Whether an error of reading is the file's fault: libraries raise OSError too, without the system's number."""
    return not (isinstance(error, OSError) and error.errno)
