"""A small client of the bench's own, so that nothing of the operator measures itself."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JOBS = "/apis/tunesmith.dev/v1alpha1/namespaces/{namespace}/finetunejobs"
CHILDREN = "/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs"
PODS = "/api/v1/namespaces/{namespace}/pods"
PAGE = 500


class ApiError(Exception):
    """The API server refused a request of the bench."""


class Api:
    """Raw JSON against one API server."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    async def request(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        """Return the decoded answer.

        Raises:
            ApiError: The answer is no success.
        """
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method, self._server + path, data=data, headers={"Content-Type": content}
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise ApiError(f"{method} {path}: {answer.status} {text[:300]}")
            return json.loads(text) if text.startswith("{") else text

    async def list_names(self, path: str) -> list[str]:
        """Return the names of a collection, page by page."""
        names: list[str] = []
        token = ""
        while True:
            page = await self.request("GET", f"{path}?limit={PAGE}&continue={token}")
            names += [item["metadata"]["name"] for item in page["items"]]
            token = page["metadata"].get("continue", "")
            if not token:
                return names

    async def watch(self, path: str, version: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a collection from a resource version on."""
        timeout = aiohttp.ClientTimeout(total=None)
        url = f"{self._server}{path}?watch=true&resourceVersion={version}"
        async with self._session.get(url, timeout=timeout) as answer:
            async for line in answer.content:
                yield json.loads(line)

    async def for_each(self, method: str, paths_and_bodies: list[tuple[str, Any]], parallel: int = 16) -> None:
        """Send one request per entry, so many at a time."""
        gate = asyncio.Semaphore(parallel)

        async def one(path: str, body: Any) -> None:
            async with gate:
                await self.request(method, path, body)

        await asyncio.gather(*(one(path, body) for path, body in paths_and_bodies))


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Api]:
    """Open a client with the current context's client certificate."""
    server, tls = _read(kubeconfig)
    connector = aiohttp.TCPConnector(ssl=tls, limit=64)
    async with aiohttp.ClientSession(
        connector=connector, read_bufsize=2**22, timeout=aiohttp.ClientTimeout(total=60)
    ) as session:
        yield Api(session, server)


def _read(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    config = yaml.safe_load(kubeconfig.read_text())
    context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
    return cluster["server"], _tls(cluster, user)


def _tls(cluster: dict[str, str], user: dict[str, str]) -> ssl.SSLContext:
    with tempfile.TemporaryDirectory() as folder:
        authority = _file(cluster, "certificate-authority", Path(folder))
        certificate = _file(user, "client-certificate", Path(folder))
        key = _file(user, "client-key", Path(folder))
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
        return context


def _file(entry: dict[str, str], field: str, folder: Path) -> Path:
    """Return the file a kubeconfig entry names, writing inline data out first."""
    if field in entry:
        return Path(entry[field])
    path = folder / field
    path.write_bytes(base64.b64decode(entry[f"{field}-data"]))
    return path
