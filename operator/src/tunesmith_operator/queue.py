"""One keyed work queue: each key is worked on by at most one worker, and once for any number of reasons."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from tunesmith_operator.backoff import Backoff

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
Triggers = frozenset[str]
Work = Callable[[Key, Triggers], Awaitable[float | None]]
"""Works on a key for the given triggers; returns after how many seconds it wants to be called again, or None."""

RETRY = "retry"
TIMER = "timer"
_BACKGROUND_SHARE = 8


class Delays(Generic[Key]):
    """Keys that are due later; a key has one time at most."""

    def __init__(self) -> None:
        self._due: dict[Key, tuple[float, str]] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0

    def put(self, key: Key, due: float, trigger: str) -> None:
        """Set when a key is due, in place of what was set before."""
        self._due[key] = (due, trigger)
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))

    def drop(self, key: Key) -> None:
        """Forget a key's time."""
        self._due.pop(key, None)

    def pop(self, now: float) -> list[tuple[Key, str]]:
        """Take the keys that are due."""
        ready = []
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            # An entry whose time was changed since is left over and means nothing.
            if self._due.get(key, (None,))[0] == due:
                ready.append((key, self._due.pop(key)[1]))
        return ready

    @property
    def next(self) -> float | None:
        """When the next key is due at the earliest."""
        return self._heap[0][0] if self._heap else None


class WorkQueue(Generic[Key]):
    """Keys with work to do, and the workers that do it.

    A key that is added while it is worked on is worked on once more afterwards. Work that raises is tried again after a
    delay that grows with each failure in a row and never ends. What users wait for goes before background work, which
    still gets every eighth turn.
    """

    def __init__(
        self,
        work: Work[Key],
        *,
        workers: int,
        select: Callable[[Triggers], Triggers] = lambda triggers: triggers,
        expected: tuple[type[Exception], ...] = (),
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty queue.

        Args:
            work: Called for each key.
            workers: How many keys are worked on at the same time.
            select: Asked right before a key is worked on, which of its triggers still ask for it. None: it is left.
            expected: Failures of the world outside, told in one line; any other is a mistake and told with its trace.
            backoff: Delays after failures.
            clock: Seconds that never go back.
        """
        self._work = work
        self._workers = workers
        self._select = select
        self._expected = expected
        self._backoff = backoff or Backoff(first=0.5, limit=60.0)
        self._clock = clock
        self._lanes: tuple[dict[Key, float], dict[Key, float]] = ({}, {})  # urgent, background: key -> since
        self._triggers: dict[Key, set[str]] = {}
        self._running: set[Key] = set()
        self._again: dict[Key, bool] = {}
        self._failures: dict[Key, int] = {}
        self._delays: Delays[Key] = Delays()
        self._available = asyncio.Semaphore(0)
        self._changed = asyncio.Event()
        self._turn = 0

    @property
    def depth(self) -> int:
        """Number of keys that wait for a worker."""
        return len(self._lanes[0]) + len(self._lanes[1]) + len(self._again)

    @property
    def pressed(self) -> bool:
        """Whether more urgent keys wait than there are workers."""
        return len(self._lanes[0]) > self._workers

    def oldest_age(self) -> float:
        """Seconds that the longest waiting key has been waiting; 0 when none does."""
        first = [next(iter(lane.values())) for lane in self._lanes if lane]
        return self._clock() - min(first) if first else 0.0

    def add(self, key: Key, trigger: str, *, background: bool = False) -> None:
        """Have a key worked on as soon as there is a worker.

        Args:
            key: The key.
            trigger: Why; handed to the work, together with all other reasons since.
            background: Whether nobody waits for it.
        """
        self._triggers.setdefault(key, set()).add(trigger)
        if key in self._running:
            self._again[key] = self._again.get(key, True) and background
            return
        urgent, idle = self._lanes
        if key in urgent or (background and key in idle):
            return
        if not background and idle.pop(key, None) is not None:
            urgent[key] = self._clock()
            return
        self._lanes[background][key] = self._clock()
        self._available.release()

    def schedule(self, key: Key, delay: float | None, trigger: str = TIMER) -> None:
        """Have a key worked on after a delay, in place of any delay set before; None: not at all."""
        if delay is None:
            self._delays.drop(key)
            return
        self._delays.put(key, self._clock() + delay, trigger)
        self._changed.set()

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a key that is no more: its delay and its failures."""
        self._delays.drop(key)
        self._failures.pop(key, None)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick(), name="queue: delays")
            for number in range(self._workers):
                group.create_task(self._serve(), name=f"queue: worker {number}")

    async def _serve(self) -> None:
        while True:
            await self._available.acquire()
            key = self._take()
            self._running.add(key)
            try:
                if triggers := self._select(frozenset(self._triggers.pop(key, ()))):
                    await self._attempt(key, triggers)
            finally:
                self._running.discard(key)
                self._requeue(key)

    async def _attempt(self, key: Key, triggers: Triggers) -> None:
        try:
            delay = await self._work(key, triggers)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = self._backoff.delay(failures)
            logger.warning(
                "%s: failed (%d in a row), tried again in %.1f s: %s", key, failures, delay, error,
                exc_info=not isinstance(error, self._expected),
            )  # fmt: skip
            self.schedule(key, delay, RETRY)
        else:
            self._failures.pop(key, None)
            self.schedule(key, delay)

    def _take(self) -> Key:
        urgent, idle = self._lanes
        self._turn += 1
        lane = idle if idle and (not urgent or self._turn % _BACKGROUND_SHARE == 0) else urgent
        key = next(iter(lane))
        del lane[key]
        return key

    def _requeue(self, key: Key) -> None:
        if key not in self._again:
            return
        background = self._again.pop(key)
        self._lanes[background][key] = self._clock()
        self._available.release()

    async def _tick(self) -> None:
        while True:
            self._changed.clear()
            for key, trigger in self._delays.pop(self._clock()):
                self.add(key, trigger, background=True)
            due = self._delays.next
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._changed.wait()
