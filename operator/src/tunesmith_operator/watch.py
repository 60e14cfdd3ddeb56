"""The watch, by kopf: it lists, watches, reconnects and authenticates. Nothing else of it is used.

kopf's per-object memories, annotations, finalizers, events and peering are off: an event is worth one line here,
and nothing of kopf's may show on a user's object. Read against the source of the pinned version.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import kopf
from kopf._cogs.configs.diffbase import DiffBaseStorage
from kopf._cogs.structs.references import Insights
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory
from typing_extensions import override

from tunesmith_api.labels import JOB_NAME
from tunesmith_operator.backoff import Backoff
from tunesmith_operator.handlers.children import on_child, on_pod
from tunesmith_operator.handlers.jobs import on_job
from tunesmith_operator.handlers.lease import on_lease
from tunesmith_operator.resources import JOBS, LEASE, POD, PYTORCHJOB

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from tunesmith_operator.connection import Connection
    from tunesmith_operator.handlers.listener import Listener
    from tunesmith_operator.resources import Resource
    from tunesmith_operator.settings import Settings

logger = logging.getLogger(__name__)

_SERVER_SECONDS: Final = 590
_CLIENT_SECONDS: Final = 620
_WORKER_IDLE_SECONDS: Final = 0.02
_STOP_SECONDS: Final = 3.0


class _NoDiffBase(DiffBaseStorage):
    """kopf would copy each object of each event to tell what changed in it; nobody asks."""

    @override
    def build(self, *, body: Any, extra_fields: Iterable[Any] | None = None) -> Any:
        return None

    @override
    def fetch(self, *, body: Any) -> Any:
        return None

    @override
    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        raise AssertionError("kopf was about to write to an object")


class _NoMemories(ResourceMemories):
    """kopf keeps a record per object for ever, also of objects whose deletion it missed; ours is the `JobStore`."""

    @override
    async def recall(self, *args: Any, **kwargs: Any) -> ResourceMemory:
        return ResourceMemory()


class WatchEndedError(Exception):
    """kopf stopped watching; only a new process starts from a clean slate."""


class Watch:
    """Watches all kinds and calls the handlers. Made, run and stopped once."""

    def __init__(
        self, settings: Settings, connection: Connection, listener: Listener, *, started: Callable[[], None]
    ) -> None:
        """Make a watch.

        Args:
            settings: The operator's settings.
            connection: Where the API server is.
            listener: Where events go.
            started: Called when kopf has made its tasks.
        """
        self._settings = settings
        self._connection = connection
        self._insights = Insights()
        self._registry = kopf.OperatorRegistry()
        self._started = started
        self._tasks: Collection[asyncio.Task[Any]] = ()
        _register(self._registry, listener, connection)

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            WatchEndedError: A watcher died.
        """
        namespaces = self._settings.watch_namespaces
        self._tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=_kopf_settings(self._settings),
            memories=_NoMemories(),
            insights=self._insights,
            standalone=True,
            clusterwide=not namespaces,
            # The own namespace is watched for the Lease; events of jobs there are dropped by the handlers.
            namespaces=sorted({*namespaces, self._settings.namespace}) if namespaces else (),
        )
        self._started()
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            errors = [task.exception() for task in done if not task.cancelled() and task.exception()]
            raise WatchEndedError(f"kopf stopped watching: {errors or 'without an error'}") from next(
                iter(errors), None
            )
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)

    async def serve(self, resource: Resource, *, served: bool) -> None:
        """Begin to watch a kind whose definition was installed after the start, or stop when it was removed.

        kopf could find out itself, but only with the right to read every CustomResourceDefinition of the cluster.
        """
        watched = self._insights.watched_resources
        known = {found for found in watched if (found.group, found.plural) == (resource.group, resource.plural)}
        if served == bool(known):
            return
        async with self._insights.revised:
            if served:
                watched.add(_kopf_resource(resource))
            else:
                watched.difference_update(known)
            self._insights.revised.notify_all()


def _kopf_resource(resource: Resource) -> kopf.Resource:
    return kopf.Resource(
        group=resource.group,
        version=resource.version,
        plural=resource.plural,
        kind=resource.kind,
        namespaced=True,
        preferred=True,
        verbs=frozenset({"get", "list", "watch"}),
    )


def _kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    result = kopf.OperatorSettings()
    result.posting.enabled = False
    result.scanning.disabled = True
    result.persistence.diffbase_storage = _NoDiffBase()
    result.watching.chunk_size = settings.chunk_size
    result.watching.server_timeout = _SERVER_SECONDS
    result.watching.client_timeout = _CLIENT_SECONDS
    result.watching.label_selectors["kubeflow.org", "pytorchjobs"] = JOB_NAME
    result.watching.label_selectors["", "v1", "pods"] = JOB_NAME
    result.watching.field_selectors["coordination.k8s.io", "leases"] = f"metadata.name={settings.lease_name}"
    result.networking.request_timeout = 60
    result.networking.connect_timeout = 10
    # Endless: a list or watch must outlast any outage of the API server, and never hammer it.
    result.networking.error_backoffs = Backoff(first=0.5, limit=30.0)
    # A task per object is kopf's way; it keeps the object for as long as the task waits for more.
    result.queueing.idle_timeout = _WORKER_IDLE_SECONDS
    result.process.ultimate_exiting_timeout = None
    return result


def _register(registry: kopf.OperatorRegistry, listener: Listener, connection: Connection) -> None:
    """Tell kopf of the handlers."""

    async def login(**_: Any) -> kopf.AiohttpSession:
        await connection.reload()
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=connection.session())

    async def child(event: Any, **_: Any) -> None:
        on_child(listener, event["type"], event["object"])

    async def pod(event: Any, **_: Any) -> None:
        on_pod(listener, event["type"], event["object"])

    async def lease(event: Any, **_: Any) -> None:
        on_lease(listener, event["object"])

    kopf.on.login(registry=registry, id="login")(login)
    for resource in JOBS:
        kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id=resource.plural)(
            _job_handler(listener, resource)
        )
    for resource, handler in ((PYTORCHJOB, child), (POD, pod), (LEASE, lease)):
        kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id=resource.plural)(handler)


def _job_handler(listener: Listener, resource: Resource) -> Any:
    async def handle(event: Any, **_: Any) -> None:
        on_job(listener, resource.kind, event["type"], event["object"])

    return handle
