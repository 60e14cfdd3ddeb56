"""Which kinds the API server serves: the training operator may be installed, or removed, at any time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tunesmith_operator.errors import ApiError
from tunesmith_operator.resources import JOBS, PYTORCHJOB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tunesmith_operator.kube import KubeClient
    from tunesmith_operator.resources import Resource

logger = logging.getLogger(__name__)

_SECONDS: Final = 15.0
_WANTED: Final = (*JOBS, PYTORCHJOB)


class Kinds:
    """Asks the API server again and again."""

    def __init__(self, client: KubeClient, changed: Callable[[Resource, bool], Awaitable[None]]) -> None:
        """Make one that knows nothing.

        Args:
            client: Talks to the API server.
            changed: Told each kind that appeared or went.
        """
        self._client = client
        self._changed = changed
        self._served: dict[Resource, bool] = {}

    @property
    def training_operator_installed(self) -> bool:
        """Whether PyTorchJob is served."""
        return self._served.get(PYTORCHJOB, False)

    @property
    def complete(self) -> bool:
        """Whether the kinds of jobs are served."""
        return all(self._served.get(resource, False) for resource in JOBS)

    async def check(self) -> None:
        """Ask once."""
        for resource in _WANTED:
            served = await self._client.serves(resource)
            before = self._served.get(resource)
            self._served[resource] = served
            if served == before or (before is None and served):
                continue
            log = logger.info if served else logger.warning
            log("%s.%s is %s", resource.plural, resource.group, "served now" if served else "not installed")
            if before is not None:
                await self._changed(resource, served)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(_SECONDS)
            try:
                await self.check()
            except ApiError as error:
                logger.warning("the kinds that are served can not be read: %s", error)
