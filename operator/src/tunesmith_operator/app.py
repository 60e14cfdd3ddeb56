"""The operator put together: which part knows which, what starts when, and what ends the process."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tunesmith_operator import __version__, metrics
from tunesmith_operator.connection import Connection
from tunesmith_operator.decide import decide
from tunesmith_operator.errors import ApiError
from tunesmith_operator.gather import Gatherer, View
from tunesmith_operator.handlers.listener import Listener
from tunesmith_operator.kinds import Kinds
from tunesmith_operator.kube import KubeClient
from tunesmith_operator.lease import Leader, LeaseTerms
from tunesmith_operator.liveness import Canary
from tunesmith_operator.progress import Poller
from tunesmith_operator.queue import WorkQueue
from tunesmith_operator.ratelimit import TokenBucket
from tunesmith_operator.reconcile import Memory, Reconciler
from tunesmith_operator.resync import Resync
from tunesmith_operator.server import serve
from tunesmith_operator.settings import own_identity
from tunesmith_operator.status.writing import worth_writing
from tunesmith_operator.store import Echoes, JobStore, Terminations
from tunesmith_operator.triggers import KINDS, PROGRESS, STATUS, select
from tunesmith_operator.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from pathlib import Path

    from tunesmith_operator.inputs import JobKey
    from tunesmith_operator.queue import Triggers
    from tunesmith_operator.resources import Resource
    from tunesmith_operator.settings import Settings

logger = logging.getLogger(__name__)

_STOP_SECONDS: Final = 5.0
_LEASE_QPS: Final = 10.0


class App:
    """One operator process."""

    def __init__(
        self, settings: Settings, connection: Connection, client: KubeClient, lease_client: KubeClient
    ) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._watching = asyncio.Event()
        self._echoes = Echoes()
        self._jobs = JobStore()
        self._terminations = Terminations()
        self._queue: WorkQueue[JobKey] = WorkQueue(
            self._work,
            workers=settings.workers,
            select=lambda triggers: select(triggers, self._echoes),
            expected=(ApiError,),
        )
        self._canary = Canary(settings.canary_seconds)
        self._poller = Poller(
            lambda key: self._queue.add(key, PROGRESS),
            interval=settings.poll_seconds,
            tell_interval=settings.status_seconds,
        )
        listener = Listener(
            queue=self._queue,
            jobs=self._jobs,
            terminations=self._terminations,
            canary=self._canary,
            lease=(settings.namespace, settings.lease_name),
            namespaces=settings.watch_namespaces,
        )
        # kopf takes the signals for itself when it starts: they are taken back.
        self._watch = Watch(settings, connection, listener, started=self._take_signals)
        self._kinds = Kinds(client, self._kind_changed)
        self._resync = Resync(client, self._queue, self._jobs, settings)
        terms = LeaseTerms(
            settings.namespace,
            settings.lease_name,
            own_identity(),
            settings.lease_duration_seconds,
            settings.lease_renew_seconds,
        )
        self._leader = Leader(lease_client, terms, renewed=self._canary.written)
        client.fence = self._leader.fence
        self._reconciler = self._make_reconciler(client, listener)
        metrics.observe_queue(lambda: self._queue.depth, self._queue.oldest_age)
        metrics.observe_jobs(self._jobs.count)
        metrics.observe_watch(self._canary.age)

    def _make_reconciler(self, client: KubeClient, listener: Listener) -> Reconciler:
        view = View(
            profiles=self._settings.accelerators,
            permissions=self._settings.policy,
            samples=self._poller,
            terminations=self._terminations.of,
            installed=lambda: self._kinds.training_operator_installed,
        )
        memory = Memory(
            hint=listener.hints.take,
            poll=self._poller.poll,
            wrote=self._echoes.wrote,
            forget=self._forget,
            pressed=lambda: self._queue.pressed,
            later=lambda key: self._queue.add(key, STATUS, background=True),
        )
        # A little less than the poller's rhythm, so that a pass that comes early by a moment still writes.
        worth = partial(worth_writing, interval=0.9 * self._settings.status_seconds)
        return Reconciler(client, Gatherer(client, view), memory, decide=decide, worth_writing=worth)

    async def run(self) -> None:
        """Run until a signal asks to stop.

        Raises:
            Exception: Something ended that must not: the process has to be started again.
        """
        async with serve(self._settings.http_port, healthy=self._healthy, ready=self._ready):
            leading = asyncio.create_task(self._leader.run(), name="lease")
            stopping = asyncio.create_task(self._stop.wait(), name="stop")
            tasks = {leading, stopping}
            try:
                self._take_signals()
                await _first(tasks, until=self._leader.leading.wait())
                if not self._stop.is_set():
                    await _first(tasks, until=self._kinds.check())
                tasks |= self._start() if not self._stop.is_set() else set()
                await _first(tasks)
            finally:
                tasks.discard(leading)
                await _cancel(tasks)
                await self._leader.release()
                await _cancel({leading})

    def _start(self) -> set[asyncio.Task[Any]]:
        parts: Mapping[str, Awaitable[Any]] = {
            "watch": self._watch.run(),
            "canary": self._listen(),
            "kinds": self._kinds.run(),
            "queue": self._queue.run(),
            "resync": self._resync.run(self._watching),
            "progress": self._poller.run(),
        }
        logger.info("tunesmith-operator %s leads and begins to work", __version__)
        return {asyncio.ensure_future(part) for part in parts.values()}

    async def _listen(self) -> None:
        """Open the periodic comparison once the watch works, and see to it that it goes on working."""
        opening = asyncio.create_task(self._canary.wait())
        opening.add_done_callback(lambda _: self._watching.set())
        try:
            await self._canary.run()
        finally:
            opening.cancel()

    async def _work(self, key: JobKey, triggers: Triggers) -> float | None:
        return await self._reconciler.work(key, triggers)

    def _forget(self, key: JobKey) -> None:
        self._terminations.forget(key)
        self._queue.forget(key)
        self._jobs.forget(key)

    async def _kind_changed(self, resource: Resource, served: bool) -> None:
        await self._watch.serve(resource, served=served)
        for key in self._jobs.known():
            self._queue.add(key, KINDS, background=True)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    def _healthy(self) -> tuple[bool, Mapping[str, Any]]:
        well = not self._canary.deaf
        return well, {"healthy": well, "watchAgeSeconds": round(self._canary.age(), 1), "leading": self._leader.holds}

    def _ready(self) -> tuple[bool, Mapping[str, Any]]:
        standby = not self._leader.leading.is_set()
        well = self._leader.looked.is_set() if standby else (self._kinds.complete and self._resync.done.is_set())
        return well, {
            "ready": well,
            "leading": not standby,
            "kindsServed": self._kinds.complete,
            "trainingOperator": self._kinds.training_operator_installed,
            "synced": self._resync.done.is_set(),
        }


async def _first(tasks: set[asyncio.Task[Any]], *, until: Awaitable[Any] | None = None) -> None:
    """Wait until a task ends, or `until` does; raise what the ended task raised."""
    waiting = {asyncio.ensure_future(until)} if until is not None else set()
    try:
        done, _ = await asyncio.wait(tasks | waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _cancel(waiting)


async def _cancel(tasks: set[Any]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_SECONDS)


async def run(settings: Settings, kubeconfig: Path | None) -> None:
    """Run an operator until it is asked to stop.

    Raises:
        Exception: It can not go on and has to be started again.
    """
    async with AsyncExitStack() as stack:
        connection = await Connection.open(kubeconfig)
        session = await stack.enter_async_context(connection.session())
        client = KubeClient(connection, session, TokenBucket(settings.qps, settings.burst))
        # Renewals do not stand in line behind the work that depends on them.
        lease_session = await stack.enter_async_context(connection.session())
        lease_client = KubeClient(connection, lease_session, TokenBucket(_LEASE_QPS, 10))
        await App(settings, connection, client, lease_client).run()
