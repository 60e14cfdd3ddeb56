import asyncio
import contextlib
from collections.abc import Callable

import pytest
from api_server import ApiServer, failure

from tunesmith_operator.errors import NotLeadingError
from tunesmith_operator.kube import KubeClient
from tunesmith_operator.lease import Leader, LeaseTakenError, LeaseTerms
from tunesmith_operator.liveness import Canary, DeafError


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def leader(client: KubeClient, identity: str, clock: Callable[[], float]) -> Leader:
    return Leader(client, LeaseTerms("default", "lease", identity, 15, 4), clock=clock)


def holder(api: ApiServer) -> str:
    return str(api.objects["leases", "default", "lease"]["spec"]["holderIdentity"])


async def test_the_first_takes_the_lease_and_the_second_waits_until_it_runs_out(
    api: ApiServer, client: KubeClient
) -> None:
    clock = Clock()
    first, second = leader(client, "first", clock), leader(client, "second", clock)
    assert await first._round()
    assert not await second._round()
    clock.now += 14
    assert not await second._round()
    assert await first._round()
    clock.now += 14
    assert not await second._round()
    clock.now += 16
    assert await second._round()
    assert holder(api) == "second"
    assert api.objects["leases", "default", "lease"]["spec"]["leaseTransitions"] == 1


async def test_the_fence_closes_before_anybody_else_can_lead(client: KubeClient) -> None:
    clock = Clock()
    first = leader(client, "first", clock)
    with pytest.raises(NotLeadingError):
        first.fence()
    await first._round()
    clock.now += 11.9
    first.fence()
    clock.now += 0.2
    with pytest.raises(NotLeadingError):
        first.fence()


async def test_a_leader_that_slept_finds_the_new_one_and_ends(client: KubeClient) -> None:
    clock = Clock()
    first, second = leader(client, "first", clock), leader(client, "second", clock)
    await first._round()
    first._led = True
    await second._round()
    clock.now += 60
    assert await second._round()
    with pytest.raises(NotLeadingError):
        first.fence()
    with pytest.raises(LeaseTakenError, match="second"):
        await first._round()


async def test_an_outage_closes_the_fence_and_its_end_opens_it(api: ApiServer, client: KubeClient) -> None:
    clock = Clock()
    first = leader(client, "first", clock)
    await first._round()
    api.faults.append(lambda request: failure(503, "ServiceUnavailable") if request.method == "PUT" else None)
    clock.now += 30
    assert not await first._round()
    assert not first.holds
    api.faults.clear()
    assert await first._round()
    first.fence()


async def test_of_two_that_take_it_at_once_one_leads(api: ApiServer, client: KubeClient) -> None:
    clock = Clock()
    leaders = [leader(client, f"replica-{number}", clock) for number in range(8)]
    won = await asyncio.gather(*(one._round() for one in leaders))
    assert sum(won) == 1
    assert [one.holds for one in leaders] == won
    assert holder(api) == f"replica-{won.index(True)}"


async def test_a_released_lease_is_free_at_once(api: ApiServer, client: KubeClient) -> None:
    clock = Clock()
    first, second = leader(client, "first", clock), leader(client, "second", clock)
    await first._round()
    assert not await second._round()
    await first.release()
    assert not first.holds
    assert await second._round()
    await first.release()
    assert holder(api) == "second"


async def test_a_restarted_container_of_the_same_pod_goes_on(client: KubeClient) -> None:
    clock = Clock()
    assert await leader(client, "pod-0", clock)._round()
    assert await leader(client, "pod-0", clock)._round()


async def test_refused_rights_are_told_and_never_lead(
    api: ApiServer, client: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    api.faults.append(lambda _: failure(403, "Forbidden", "leases is forbidden"))
    assert not await leader(client, "first", Clock())._round()
    assert "check the operator's role" in caplog.text


def test_the_canary_is_deaf_only_after_a_change_that_was_not_heard() -> None:
    clock = Clock()
    canary = Canary(75, clock=clock)
    clock.now += 1000
    deaf = [canary.deaf]  # nothing was written: an outage, not deafness
    canary.written("1")
    clock.now += 74
    canary.written("2")
    deaf.append(canary.deaf)
    canary.heard("2")
    clock.now += 300
    deaf.append(canary.deaf)
    canary.written("3")
    canary.heard("of another replica")
    clock.now += 76
    deaf.append(canary.deaf)
    assert deaf == [False, False, False, True]
    assert canary.age() == 76


async def test_a_deaf_operator_ends() -> None:
    clock = Clock()
    canary = Canary(75, clock=clock)
    task = asyncio.create_task(canary.run())
    canary.written("1")
    clock.now += 80
    with pytest.raises(DeafError, match="75 s"):
        async with asyncio.timeout(5):
            await task


async def test_run_leads_and_renews(api: ApiServer, client: KubeClient) -> None:
    renewals: list[str] = []
    terms = LeaseTerms("default", "lease", "me", 5, 0.02)
    task = asyncio.create_task(Leader(client, terms, renewed=renewals.append).run())
    async with asyncio.timeout(20):
        while len(renewals) < 3:
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert len(set(renewals)) == len(renewals)
