"""Asks running pods how far they are. Nothing in the answers is trusted, and no pod can hold up the others."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import ipaddress
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import aiohttp
from pydantic import ValidationError

from tunesmith_api.pod import PROGRESS_PATH, PROGRESS_PORT
from tunesmith_api.progress import MAX_PROGRESS_BYTES, Progress
from tunesmith_operator import metrics
from tunesmith_operator.inputs import ProgressSample

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunesmith_operator.inputs import JobKey

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS: Final = 2.0
_CONCURRENT: Final = 32
_HTTP_OK: Final = 200


@dataclass(slots=True)
class _Target:
    uid: str
    address: str
    sample: ProgressSample | None = None
    told: float = float("-inf")
    """When the job was last enqueued for its progress."""
    pending: bool = False
    """Whether the newest sample was not told yet."""


class Poller:
    """Keeps the newest progress of every polled pod, and tells which jobs' progress moved."""

    def __init__(
        self,
        moved: Callable[[JobKey], None],
        *,
        interval: float,
        tell_interval: float,
        port: int = PROGRESS_PORT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a poller without pods.

        Args:
            moved: Called with a job whose progress moved.
            interval: Seconds between two questions to one pod.
            tell_interval: Least seconds between two calls of `moved` for one job.
            port: Port of the pods.
            clock: Seconds that never go back.
        """
        self._moved = moved
        self._interval = interval
        self._tell_interval = tell_interval
        self._port = port
        self._clock = clock
        self._targets: dict[JobKey, _Target] = {}
        self._due: list[tuple[float, int, JobKey, _Target]] = []
        self._count = 0
        self._changed = asyncio.Event()

    def poll(self, key: JobKey, target: tuple[str, str] | None) -> None:
        """Set which pod of a job is asked: its UID and address, or none."""
        if target is None or not _is_address(target[1]):
            self._targets.pop(key, None)
            return
        known = self._targets.get(key)
        if known and (known.uid, known.address) == target:
            return
        self._targets[key] = fresh = _Target(*target)
        # Soon, for a user watches the start; not all at once, for thousands may start together.
        self._put(key, fresh, random.uniform(0.0, min(1.0, self._interval)))  # noqa: S311 - spreads load

    def sample(self, key: JobKey) -> ProgressSample | None:
        """Return the newest answer of the pod that is polled for a job."""
        target = self._targets.get(key)
        return target.sample if target else None

    def __len__(self) -> int:
        return len(self._targets)

    async def run(self) -> None:
        """Ask until cancelled."""
        gate = asyncio.Semaphore(_CONCURRENT)
        # One request to each of thousands of addresses: connections are not worth keeping.
        connector = aiohttp.TCPConnector(limit=_CONCURRENT, force_close=True)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            asyncio.TaskGroup() as group,
        ):
            while True:
                key, target = await self._next()
                await gate.acquire()
                group.create_task(self._turn(session, gate, key, target))

    async def _next(self) -> tuple[JobKey, _Target]:
        while True:
            self._changed.clear()
            now = self._clock()
            while self._due and self._due[0][0] <= now:
                _, _, key, target = heapq.heappop(self._due)
                if self._targets.get(key) is target:
                    return key, target
            delay = self._due[0][0] - now if self._due else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._changed.wait()

    async def _turn(
        self, session: aiohttp.ClientSession, gate: asyncio.Semaphore, key: JobKey, target: _Target
    ) -> None:
        try:
            progress = await self._ask(session, target)
            if progress is not None:
                self._keep(key, target, progress)
        finally:
            gate.release()
            if self._targets.get(key) is target:
                self._put(key, target, self._interval)

    async def _ask(self, session: aiohttp.ClientSession, target: _Target) -> Progress | None:
        url = f"http://{_host(target.address)}:{self._port}{PROGRESS_PATH}"
        try:
            async with session.get(url, allow_redirects=False) as response:
                body = await response.content.read(MAX_PROGRESS_BYTES + 1)
                while len(body) <= MAX_PROGRESS_BYTES and (more := await response.content.read(MAX_PROGRESS_BYTES)):
                    body += more
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # A pod that starts, ends or is busy does not answer: that alone means nothing.
            metrics.polled("unreachable")
            logger.debug("%s: no progress: %s", url, str(error) or type(error).__name__)
            return None
        if response.status != _HTTP_OK or len(body) > MAX_PROGRESS_BYTES:
            metrics.polled("garbage")
            logger.debug("%s: status %d, %d bytes: not taken for progress", url, response.status, len(body))
            return None
        return self._read(url, body, target)

    def _read(self, url: str, body: bytes, target: _Target) -> Progress | None:
        try:
            progress = Progress.model_validate_json(body)
        except ValidationError as error:
            metrics.polled("garbage")
            logger.debug("%s: is no progress: %s", url, error)
            return None
        # Addresses are used again: this may be the pod of somebody else by now.
        if progress.pod_uid != target.uid:
            metrics.polled("stranger")
            return None
        metrics.polled("ok")
        return progress

    def _keep(self, key: JobKey, target: _Target, progress: Progress) -> None:
        before = target.sample
        target.sample = ProgressSample(progress=progress, received=datetime.now(UTC))
        target.pending = target.pending or before is None or _moved(before.progress, progress)
        now = self._clock()
        # Half an interval of slack: a poll comes now and then a little early, and must not wait for the next one.
        early = now - target.told < self._tell_interval - self._interval / 2
        changed_phase = before is None or before.progress.phase != progress.phase
        if target.pending and (changed_phase or not early) and self._targets.get(key) is target:
            target.told, target.pending = now, False
            self._moved(key)

    def _put(self, key: JobKey, target: _Target, delay: float) -> None:
        self._count += 1
        heapq.heappush(self._due, (self._clock() + delay, self._count, key, target))
        self._changed.set()


def _moved(before: Progress, after: Progress) -> bool:
    """Return whether a reader would care: anything but the age of the heartbeat and the running seconds."""
    quiet = {"seconds_since_heartbeat", "seconds", "estimated_remaining_seconds"}
    return before.model_dump(exclude=quiet) != after.model_dump(exclude=quiet)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
