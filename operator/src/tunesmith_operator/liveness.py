"""Does the operator still hear?

The Lease changes every few seconds; a change that the watch never tells of is the proof that it does not.
Only changes that were surely made count: while the API server is down nothing changes, and a restart would not help.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from tunesmith_operator import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_LAG_SECONDS: Final = 1.0


class DeafError(Exception):
    """The watch has not told of a change of the Lease for too long."""


class Canary:
    """Compares the versions of the Lease that were written with those that the watch told of."""

    def __init__(self, limit: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Make one that has heard everything so far.

        Args:
            limit: Seconds after which an unheard change means that the watch is dead.
            clock: Seconds that never go back.
        """
        self._limit = limit
        self._clock = clock
        self._heard = clock()
        self._unheard_since: float | None = None
        self._written: set[str] = set()
        self._first = asyncio.Event()

    def written(self, version: str) -> None:
        """Note a version of the Lease that was written."""
        if self._unheard_since is None:
            self._unheard_since = self._clock()
        self._written.add(version)

    def heard(self, version: str) -> None:
        """Note a version of the Lease that the watch told of; also one of another replica."""
        self._first.set()
        self._heard = self._clock()
        if version in self._written:
            self._written.clear()
            self._unheard_since = None

    async def wait(self) -> None:
        """Wait until the watch has told of the Lease for the first time."""
        await self._first.wait()

    def age(self) -> float:
        """Seconds since the watch last told of the Lease."""
        return self._clock() - self._heard

    @property
    def deaf(self) -> bool:
        """Whether a change was not told for longer than the limit."""
        return self._unheard_since is not None and self._clock() - self._unheard_since > self._limit

    async def run(self) -> None:
        """Check until cancelled.

        Raises:
            DeafError: The watch is dead.
        """
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_SECONDS
            await asyncio.sleep(_LAG_SECONDS)
            metrics.loop_lag(loop.time() - due)
            if self.deaf:
                raise DeafError(
                    f"the watch is dead: for {self._limit:.0f} s it told of no change of the lease, which was renewed"
                )
