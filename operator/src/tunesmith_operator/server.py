"""The operator's HTTP endpoint: /metrics, /healthz and /readyz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tunesmith_operator import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Check = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Returns whether all is well, and what to show."""


@asynccontextmanager
async def serve(port: int, *, healthy: Check, ready: Check) -> AsyncIterator[int]:
    """Serve while the context lasts; yields the port.

    Raises:
        OSError: The port is taken.
    """
    app = web.Application()
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", _probe(healthy))
    app.router.add_get("/readyz", _probe(ready))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _probe(check: Check) -> Callable[[web.Request], Any]:
    async def answer(_request: web.Request) -> web.Response:
        well, details = check()
        return web.json_response(dict(details), status=200 if well else 503)

    return answer
