"""What supervisor and workers of a pod tell each other, as small files in a folder of the pod's own.

Workers write progress and, at the end, a result; the supervisor writes the order to stop. Files, because the workers
are grandchildren when torchrun starts them, and because a killed worker leaves its last word behind.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tunesmith_api.progress import Outcome, Progress, Report

ENV_EXCHANGE = "TUNESMITH_EXCHANGE"
ENV_STARTED = "TUNESMITH_STARTED"
"""When the pod's supervisor started, by the machine's monotonic clock, in seconds."""


_Report = TypeVar("_Report", bound=Report)


def now() -> float:
    """Return the machine's monotonic clock, which all processes of a pod share, in seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Beat(Report):
    """Progress, and when the worker last did something by the machine's monotonic clock, in seconds."""

    progress: Progress
    heartbeat: float
    trained_since_save: bool = False


class Result(Report):
    """The end of one worker, and when it was, by the machine's monotonic clock, in seconds."""

    rank: int
    ended: float
    outcome: Outcome


@dataclass(frozen=True)
class Exchange:
    """The folder.

    Attributes:
        folder: Where it is.
        started: When the pod's supervisor started, by the machine's monotonic clock, in seconds.
    """

    folder: Path
    started: float = field(default_factory=now)

    @classmethod
    def create(cls) -> Exchange:
        """Make a fresh one, for the supervisor."""
        return cls(Path(tempfile.mkdtemp(prefix="tunesmith-")))

    @classmethod
    def from_environment(cls) -> Exchange:
        """Find the supervisor's, for a worker."""
        return cls(Path(os.environ[ENV_EXCHANGE]), float(os.environ.get(ENV_STARTED) or now()))

    def environment(self) -> dict[str, str]:
        """Return the variables that let a worker find it."""
        return {ENV_EXCHANGE: str(self.folder), ENV_STARTED: str(self.started)}

    def write_beat(self, beat: Beat) -> None:
        """Tell progress; the first rank of a node does."""
        _write(self.folder / "progress.json", beat)

    def read_beat(self) -> Beat | None:
        """Return the last progress told, None before the first."""
        return _read(Beat, self.folder / "progress.json")

    def write_result(self, result: Result) -> None:
        """Tell how a worker ended."""
        _write(self.folder / f"result-{result.rank}.json", result)

    def read_results(self) -> list[Result]:
        """Return how the workers that could still tell it ended, earliest first."""
        results = (_read(Result, path) for path in self.folder.glob("result-*.json"))
        return sorted((result for result in results if result), key=lambda result: result.ended)

    def order_stop(self) -> None:
        """Tell the workers to save and end."""
        (self.folder / "stop").touch()

    @property
    def stop_ordered(self) -> bool:
        """Whether the workers are to save and end."""
        return (self.folder / "stop").exists()


def _write(path: Path, report: Report) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(report.model_dump_json(by_alias=True, exclude_none=True), encoding="utf-8")
    temporary.replace(path)


def _read(kind: type[_Report], path: Path) -> _Report | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
