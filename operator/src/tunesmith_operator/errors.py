"""What may go wrong with the API server, classified once: by what has to be done about it."""

from __future__ import annotations

import json
from typing import Any


class ApiError(Exception):
    """The API server answered with an error.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        reason: The machine-readable reason of the API server, such as `AlreadyExists`.
        message: Its text, for people.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class NotFoundError(ApiError):
    """The object, or its whole kind, does not exist."""


class AlreadyExistsError(ApiError):
    """An object of that name exists: look whether it is ours."""


class ConflictError(ApiError):
    """The object changed since it was read, or is another one: read again."""


class ExpiredError(ApiError):
    """A page of a list came too late: begin the list again."""


class RefusedError(ApiError):
    """The request itself is refused: by validation, admission, quota or rights. Trying the same again changes nothing.

    A webhook that can not be called counts too: someone has to mend it, and the user has to be told.
    """


class ThrottledError(ApiError):
    """Too many requests: nothing was done; come back after `retry_after`."""


class UnavailableError(ApiError):
    """No answer, or an answer that tells nothing about the request, which may have been carried out or not."""


class NotLeadingError(Exception):
    """A write was held back because this process does not hold the Lease beyond doubt."""


class StaleError(Exception):
    """What a pass has seen is too old or has changed under its hands; it has to begin again."""


_BY_STATUS: dict[int, type[ApiError]] = {
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    429: ThrottledError,
    # The token may just have been rotated: a new one is read for the next try.
    401: UnavailableError,
    408: UnavailableError,
}
_FIRST_ERROR = 400
_FIRST_SERVER_ERROR = 500
_MAX_MESSAGE = 2000


def classify(status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """Return the error that an answer stands for.

    Args:
        status: HTTP status, 400 or more.
        body: The answer, a `Status` object in JSON or anything else.
        retry_after: Value of the Retry-After header.
    """
    told = _status_object(body)
    reason = str(told.get("reason") or f"HTTP{status}")
    message = str(told.get("message") or body[:200].decode("utf-8", "replace") or reason)[:_MAX_MESSAGE]
    return _kind(status, reason, message)(status, reason, message, _seconds(retry_after, told))


def _kind(status: int, reason: str, message: str) -> type[ApiError]:
    if reason == "AlreadyExists":
        return AlreadyExistsError
    if status >= _FIRST_SERVER_ERROR:
        return RefusedError if "failed calling webhook" in message else UnavailableError
    return _BY_STATUS.get(status, RefusedError)


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _seconds(header: str | None, told: dict[str, Any]) -> float | None:
    details = told.get("details")
    value = header or (details.get("retryAfterSeconds") if isinstance(details, dict) else None)
    try:
        return max(0.0, float(value)) if value is not None else None
    except (TypeError, ValueError):
        return None
