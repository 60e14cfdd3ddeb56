"""A small client of the API server: raw JSON in and out, with limits, patience and a fence before every write."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp

from tunesmith_api.labels import FIELD_MANAGER
from tunesmith_operator import metrics
from tunesmith_operator.backoff import Backoff
from tunesmith_operator.errors import (
    ConflictError,
    NotFoundError,
    ThrottledError,
    UnavailableError,
    classify,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tunesmith_operator.errors import (
        ApiError,
    )
    from tunesmith_operator.ratelimit import TokenBucket
    from tunesmith_operator.resources import Resource

logger = logging.getLogger(__name__)

Json = dict[str, Any]
_REQUEST_SECONDS: Final = 30.0
_PATIENCE: Final = Backoff(first=0.25, limit=15.0)
_HTTP_UNAUTHORIZED: Final = 401
_HTTP_ERROR: Final = 400
_LINES_PER_OUTAGE: Final = 8
_AS_US: Final = {"fieldManager": FIELD_MANAGER}


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"


class Reachable(Protocol):
    """What the client needs of a `Connection`."""

    @property
    def server(self) -> str:
        """The URL of the API server."""

    async def reload(self) -> None:
        """Read the credentials again."""


class KubeClient:
    """Talks to one API server.

    Reads are tried until there is an answer, with growing pauses: a pass has decided nothing yet, and nothing else can
    be done meanwhile. Writes are tried again only when the API server said that it did nothing (429); everything else
    is the caller's to look at again.
    """

    def __init__(
        self,
        connection: Reachable,
        session: aiohttp.ClientSession,
        limiter: TokenBucket,
        *,
        patience: Backoff = _PATIENCE,
    ) -> None:
        self._connection = connection
        self._session = session
        self._limiter = limiter
        self._patience = patience
        self.fence: Callable[[], None] = lambda: None
        """Called right before each write; raises when this process may not write (any more)."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Read one object.

        Raises:
            NotFoundError: It does not exist.
            ApiError: The read is refused.
        """
        return _bare(await self._read(resource.path(namespace, name)))

    async def find(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """Read one object; None when it does not exist."""
        try:
            return await self.get(resource, namespace, name)
        except NotFoundError:
            return None

    async def pages(
        self, resource: Resource, namespace: str | None, *, labels: str = "", limit: int = 500
    ) -> AsyncIterator[list[Json]]:
        """Read a collection page by page, so that never more than one page is in memory.

        Raises:
            ExpiredError: The pages were read too slowly; begin again.
        """
        query = {"limit": str(limit)} | ({"labelSelector": labels} if labels else {})
        while True:
            page = await self._read(resource.path(namespace), query)
            token = page.get("metadata", {}).get("continue")
            yield [_bare(item) for item in page.pop("items", None) or []]
            if not token:
                return
            query["continue"] = token

    async def serves(self, resource: Resource) -> bool:
        """Return whether the API server knows this kind."""
        try:
            served = await self._read(resource.root)
        except NotFoundError:
            return False
        return any(item.get("name") == resource.plural for item in served.get("resources", []))

    async def create(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Json:
        """Create an object.

        Raises:
            AlreadyExistsError: There is one of that name.
            RefusedError: The API server, its admission or a quota will not have it.
            UnavailableError: It is unknown whether it was created.
        """
        return _bare(await self._write(_Request("POST", resource.path(namespace), _AS_US, manifest)))

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> bool:
        """Delete an object of a given UID, its dependents in the background. False when it is gone already."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._write(_Request("DELETE", resource.path(namespace, name), {}, options))
        except (NotFoundError, ConflictError):
            # A conflict says that another object has taken the name: this one is gone.
            return False
        return True

    async def replace(self, resource: Resource, namespace: str, obj: Mapping[str, Any]) -> Json:
        """Replace an object that is still at the version it was read at.

        Raises:
            ConflictError: It is not.
        """
        return await self._write(_Request("PUT", resource.path(namespace, obj["metadata"]["name"]), _AS_US, obj))

    async def write_status(self, resource: Resource, seen: Mapping[str, Any], status: Mapping[str, Any]) -> Json:
        """Make the status of an object equal to `status`, if the object is still as it was seen.

        Raises:
            ConflictError: It changed since.
        """
        metadata = seen["metadata"]
        patch = {
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "status": merge_patch(seen.get("status") or {}, status),
        }
        path = resource.path(metadata["namespace"], metadata["name"], "status")
        return _bare(await self._write(_Request("PATCH", path, _AS_US, patch, "application/merge-patch+json")))

    async def _read(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        failures = 0
        while True:
            try:
                return await self._request(_Request("GET", path, query or {}))
            except (UnavailableError, ThrottledError) as error:
                failures += 1
                await self._wait(failures, error, path)

    async def _write(self, request: _Request) -> Json:
        failures = 0
        while True:
            try:
                return await self._request(request)
            except ThrottledError as error:
                failures += 1
                await self._wait(failures, error, request.path)

    async def _wait(self, failures: int, error: ApiError, path: str) -> None:
        delay = max(self._patience.delay(failures), error.retry_after or 0.0)
        # The first tries of an outage are told; after that one line now and then is enough.
        if failures <= _LINES_PER_OUTAGE or failures % _LINES_PER_OUTAGE == 0:
            logger.warning("API server: %s; %s is tried again in %.1f s (%d)", error, path, delay, failures)
        await asyncio.sleep(delay)

    async def _request(self, request: _Request) -> Json:
        await self._limiter.acquire()
        if request.method != "GET":
            self.fence()
        status, payload, retry_after = await self._exchange(request)
        if status < _HTTP_ERROR:
            metrics.api_request(request.method)
            answer: Json = json.loads(payload)
            return answer
        metrics.api_error(request.method, status)
        if status == _HTTP_UNAUTHORIZED:
            await self._connection.reload()
        raise classify(status, payload, retry_after)

    async def _exchange(self, request: _Request) -> tuple[int, bytes, str | None]:
        data = None if request.body is None else json.dumps(request.body, separators=(",", ":")).encode()
        try:
            async with (
                asyncio.timeout(_REQUEST_SECONDS),
                self._session.request(
                    request.method,
                    self._connection.server + request.path,
                    params=request.query,
                    data=data,
                    headers={"Content-Type": request.content_type} if data is not None else None,
                ) as response,
            ):
                return response.status, await response.read(), response.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            metrics.api_error(request.method, 0)
            raise UnavailableError(0, type(error).__name__, str(error) or "no answer") from error


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """Return the JSON merge patch (RFC 7386) that turns one object into another: what is gone becomes null."""
    patch: Json = dict.fromkeys((key for key in old if key not in new), None)
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif key not in old or value != before:
            patch[key] = value
    return patch


def _bare(obj: Json) -> Json:
    """Drop the bookkeeping of field managers: half of an object's size, of no use here."""
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)
    return obj


__all__ = ["KubeClient", "Reachable", "merge_patch"]
