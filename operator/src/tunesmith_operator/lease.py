"""Who leads: one replica at a time, by a Lease of coordination.k8s.io. Every write is fenced by it.

Clocks of different machines are never compared: another holder counts as gone when its record has not changed for the
lease's duration on our own monotonic clock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from tunesmith_operator import metrics
from tunesmith_operator.errors import AlreadyExistsError, ApiError, ConflictError, NotLeadingError, UnavailableError
from tunesmith_operator.resources import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tunesmith_operator.resources import Resource

logger = logging.getLogger(__name__)

_MARGIN: Final = 0.2
"""Share of the lease's duration in which nothing is written any more: a request may be under way for a while."""
_RELEASE_SECONDS: Final = 3.0


class LeaseClient(Protocol):
    """What is needed of a `KubeClient`."""

    async def find(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """Read one object."""

    async def create(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object."""

    async def replace(self, resource: Resource, namespace: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object that has not changed since it was read."""


@dataclass(frozen=True)
class LeaseTerms:
    """Which Lease, who we are, and how long it holds (seconds)."""

    namespace: str
    name: str
    identity: str
    duration: float
    renew: float


class LeaseTakenError(Exception):
    """Another replica leads now."""


class Leader:
    """Takes the Lease, keeps it, and knows at every moment whether it surely holds it."""

    def __init__(
        self,
        client: LeaseClient,
        terms: LeaseTerms,
        *,
        clock: Callable[[], float] = time.monotonic,
        renewed: Callable[[str], None] = lambda _version: None,
    ) -> None:
        """Make a follower.

        Args:
            client: Talks to the API server; must not itself be fenced by this lease.
            terms: The Lease.
            clock: Seconds that never go back.
            renewed: Told the version of the Lease after each renewal.
        """
        self._client = client
        self._terms = terms
        self._clock = clock
        self._renewed = renewed
        self._valid_until = float("-inf")
        self._seen: tuple[str, float] = ("", clock())
        self._led = False
        self.leading = asyncio.Event()
        """Set once this replica has led."""
        self.looked = asyncio.Event()
        """Set once the Lease could be read: the API server is there and lets us."""

    @property
    def holds(self) -> bool:
        """Whether no other replica can lead at this moment."""
        return self._clock() < self._valid_until

    def fence(self) -> None:
        """Let a write pass only while this replica leads beyond doubt.

        Raises:
            NotLeadingError: It does not.
        """
        if not self.holds:
            raise NotLeadingError(f"lease {self._terms.namespace}/{self._terms.name} is not held beyond doubt")

    async def run(self) -> None:
        """Take the Lease when it is free and keep it.

        While the API server can not be reached the fence closes by itself, and opens when the Lease could be renewed
        before anybody else took it.

        Raises:
            LeaseTakenError: This replica led, and another one does now.
        """
        while True:
            held = await self._round()
            metrics.lease_held(held=self.holds)
            if held:
                self._led = True
                self.leading.set()
            await asyncio.sleep(self._terms.renew if held else min(self._terms.renew, 2.0))

    async def release(self) -> None:
        """Give the Lease back, so that another replica need not wait for it to run out."""
        held, self._valid_until = self.holds, float("-inf")
        if not held:
            return
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                lease = await self._client.find(LEASE, self._terms.namespace, self._terms.name)
                if lease and _holder(lease) == self._terms.identity:
                    lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._client.replace(LEASE, self._terms.namespace, lease)
                    logger.info("lease %s released", self._terms.name)
        except (ApiError, TimeoutError) as error:
            logger.warning(
                "lease %s could not be released and runs out by itself: %s", self._terms.name, str(error) or "no answer"
            )

    async def _round(self) -> bool:
        """Look at the Lease once; return whether it is ours afterwards."""
        started = self._clock()
        try:
            async with asyncio.timeout(self._terms.duration * (1 - _MARGIN)):
                lease = await self._client.find(LEASE, self._terms.namespace, self._terms.name)
                self.looked.set()
                if lease is not None and not self._free(lease):
                    self._lost_to(_holder(lease))
                    return False
                written = await self._take(lease)
        except (ConflictError, AlreadyExistsError):
            return False  # somebody was faster; look again
        except (UnavailableError, TimeoutError) as error:
            logger.warning("lease %s can not be renewed: %s", self._terms.name, str(error) or "no answer in time")
            return False
        except ApiError as error:
            logger.error("lease %s is refused: %s; check the operator's role", self._terms.name, error)  # noqa: TRY400 - the text says it all
            return False
        # Counted from before the request: the API server may have taken note long before its answer came.
        self._valid_until = started + self._terms.duration * (1 - _MARGIN)
        self._renewed(str(written["metadata"].get("resourceVersion")))
        if not self._led:
            logger.info("lease %s taken by %s", self._terms.name, self._terms.identity)
        return True

    def _free(self, lease: Mapping[str, Any]) -> bool:
        holder = _holder(lease)
        version = str(lease["metadata"].get("resourceVersion"))
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        if holder in {"", self._terms.identity}:
            return True
        lasts = float((lease.get("spec") or {}).get("leaseDurationSeconds") or self._terms.duration)
        return self._clock() - self._seen[1] > lasts

    def _lost_to(self, holder: str) -> None:
        self._valid_until = float("-inf")
        metrics.lease_held(held=False)
        if self._led:
            raise LeaseTakenError(f"lease {self._terms.name} was taken by {holder}")

    async def _take(self, lease: dict[str, Any] | None) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self._terms.identity,
            "leaseDurationSeconds": round(self._terms.duration),
            "renewTime": now,
        }
        if lease is None:
            metadata = {"name": self._terms.name, "namespace": self._terms.namespace}
            spec |= {"acquireTime": now, "leaseTransitions": 0}
            manifest = {"apiVersion": "coordination.k8s.io/v1", "kind": LEASE.kind, "metadata": metadata, "spec": spec}
            return await self._client.create(LEASE, self._terms.namespace, manifest)
        old = lease.get("spec") or {}
        kept = _holder(lease) == self._terms.identity
        spec["acquireTime"] = old.get("acquireTime", now) if kept else now
        spec["leaseTransitions"] = int(old.get("leaseTransitions") or 0) + (0 if kept else 1)
        return await self._client.replace(LEASE, self._terms.namespace, {**lease, "spec": spec})


def _holder(lease: Mapping[str, Any]) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
