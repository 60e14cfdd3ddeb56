"""Log lines: one per event, readable by people or as JSON by programs, with the job they are about."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

_job: ContextVar[str] = ContextVar("job", default="")


@contextmanager
def job_context(job: str) -> Iterator[None]:
    """Mark all lines logged inside as being about a job."""
    token = _job.set(job)
    try:
        yield
    finally:
        _job.reset(token)


class _Text(logging.Formatter):
    @override
    def format(self, record: logging.LogRecord) -> str:
        job = _job.get()
        line = f"{_time(record)} {record.levelname:<7} {job + ': ' if job else ''}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if job := _job.get():
            line["job"] = job
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _brief(record: logging.LogRecord) -> bool:
    """Cut kopf's traces, which are long and tell of the API server's failures only, unless debugging."""
    if record.name.startswith("kopf") and not logging.getLogger().isEnabledFor(logging.DEBUG):
        record.exc_info = record.exc_text = None
    return True


def configure(form: Literal["text", "json"], level: str) -> None:
    """Send log lines to the standard error, in place of any earlier configuration."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_brief)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # kopf tells of every event, and of every retry of a watch; what matters of it is a warning.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
