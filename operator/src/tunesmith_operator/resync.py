"""The periodic comparison with the cluster: finds what no event told of, page by page."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunesmith_operator import metrics
from tunesmith_operator.errors import ApiError
from tunesmith_operator.inputs import JobKey
from tunesmith_operator.resources import JOBS
from tunesmith_operator.triggers import RESYNC

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunesmith_operator.kube import KubeClient
    from tunesmith_operator.queue import WorkQueue
    from tunesmith_operator.resources import Resource
    from tunesmith_operator.settings import Settings
    from tunesmith_operator.store import JobStore

logger = logging.getLogger(__name__)


@dataclass
class Resync:
    """Lists all jobs now and then, and has those looked at that are not over."""

    client: KubeClient
    queue: WorkQueue[JobKey]
    jobs: JobStore
    settings: Settings
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first comparison is complete."""
    clock: Callable[[], float] = time.monotonic

    async def run(self, started: asyncio.Event) -> None:
        """Compare until cancelled.

        Args:
            started: Set when the watch is up; a first comparison before it would find everything unheard of.
        """
        await started.wait()
        while True:
            try:
                await self.once()
            except ApiError as error:
                logger.warning("the periodic comparison is cut short: %s", error)
            # Replicas and clusters that were started together need not compare together.
            await asyncio.sleep(self.settings.resync_seconds * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load

    async def once(self) -> None:
        """Compare once."""
        begun = self.clock()
        known = self.jobs.known()
        found: set[JobKey] = set()
        for resource in JOBS:
            for namespace in self.settings.watch_namespaces or (None,):
                found |= await self._list(resource, namespace)
        for key in known - found:
            # Its deletion was missed, or it was deleted just now; the pass finds out.
            self.queue.add(key, RESYNC, background=True)
        metrics.resync_took(self.clock() - begun)
        self.done.set()

    async def _list(self, resource: Resource, namespace: str | None) -> set[JobKey]:
        found = set()
        async for page in self.client.pages(resource, namespace, limit=self.settings.chunk_size):
            for job in page:
                key = JobKey(resource.kind, job["metadata"]["namespace"], job["metadata"]["name"])
                found.add(key)
                self.jobs.observe(key, job)
                record = self.jobs.get(key)
                if record and not record.settled:
                    self.queue.add(key, RESYNC, background=True)
        return found
