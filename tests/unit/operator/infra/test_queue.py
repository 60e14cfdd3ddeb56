import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tunesmith_operator.backoff import Backoff
from tunesmith_operator.queue import RETRY, TIMER, Delays, WorkQueue

FAST = Backoff(first=0.01, limit=0.02)


@asynccontextmanager
async def running(queue: WorkQueue[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_key_is_worked_on_by_one_worker_at_a_time() -> None:
    busy: Counter[str] = Counter()
    most = 0
    done: list[str] = []

    async def work(key: str, _: frozenset[str]) -> None:
        nonlocal most
        busy[key] += 1
        most = max(most, busy[key])
        await asyncio.sleep(0.005)
        busy[key] -= 1
        done.append(key)

    queue = WorkQueue(work, workers=8)
    async with running(queue):
        for _ in range(20):
            for key in "abc":
                queue.add(key, "event")
            await asyncio.sleep(0.001)
        await until(lambda: queue.depth == 0 and not any(busy.values()))
    assert most == 1
    assert set(done) == {"a", "b", "c"}
    assert len(done) < 60


async def test_what_is_added_meanwhile_is_worked_on_once_more() -> None:
    seen: list[frozenset[str]] = []
    gate = asyncio.Event()

    async def work(_: str, triggers: frozenset[str]) -> None:
        seen.append(triggers)
        await gate.wait()

    queue = WorkQueue(work, workers=4)
    async with running(queue):
        queue.add("a", "first")
        await until(lambda: len(seen) == 1)
        queue.add("a", "second")
        queue.add("a", "third")
        assert queue.depth == 1
        gate.set()
        await until(lambda: len(seen) == 2)
        await asyncio.sleep(0.02)
    assert seen == [frozenset({"first"}), frozenset({"second", "third"})]


async def test_triggers_that_no_longer_ask_for_work_cause_none() -> None:
    seen: list[frozenset[str]] = []

    async def work(_: str, triggers: frozenset[str]) -> None:
        seen.append(triggers)

    queue = WorkQueue(work, workers=1, select=lambda triggers: triggers - {"echo"})
    async with running(queue):
        queue.add("a", "echo")
        queue.add("b", "echo")
        queue.add("b", "real")
        await until(lambda: bool(seen))
        await asyncio.sleep(0.02)
    assert seen == [frozenset({"real"})]


async def test_failures_are_tried_again_until_they_succeed() -> None:
    tries: list[frozenset[str]] = []

    async def work(_: str, triggers: frozenset[str]) -> None:
        tries.append(triggers)
        if len(tries) < 6:
            raise ConnectionError("no")

    queue = WorkQueue(work, workers=1, expected=(ConnectionError,), backoff=FAST)
    async with running(queue):
        queue.add("a", "event")
        await until(lambda: len(tries) == 6)
        await asyncio.sleep(0.05)
    assert tries == [frozenset({"event"})] + [frozenset({RETRY})] * 5


async def test_a_poisoned_key_does_not_hold_up_the_others() -> None:
    done: list[str] = []

    async def work(key: str, _: frozenset[str]) -> None:
        if key == "poison":
            raise ValueError(key)
        done.append(key)

    queue = WorkQueue(work, workers=1, backoff=FAST)
    async with running(queue):
        queue.add("poison", "event")
        for number in range(50):
            queue.add(str(number), "event")
        await until(lambda: len(done) == 50)


async def test_the_last_wish_for_a_delay_counts() -> None:
    started = asyncio.get_running_loop().time()
    passes: list[tuple[frozenset[str], float]] = []
    wishes = iter([10.0, 0.05, None])

    async def work(_: str, triggers: frozenset[str]) -> float | None:
        passes.append((triggers, asyncio.get_running_loop().time() - started))
        return next(wishes)

    queue = WorkQueue(work, workers=1)
    async with running(queue):
        queue.add("a", "event")
        await until(lambda: len(passes) == 1)
        queue.add("a", "event")
        await until(lambda: len(passes) == 3)
        await asyncio.sleep(0.1)
    assert [triggers for triggers, _ in passes] == [{"event"}, {"event"}, {TIMER}]
    assert passes[2][1] - passes[1][1] >= 0.05


async def test_what_users_wait_for_goes_first_but_the_background_is_not_starved() -> None:
    order: list[str] = []

    async def work(key: str, _: frozenset[str]) -> None:
        order.append(key)

    queue = WorkQueue(work, workers=1)
    for number in range(40):
        queue.add(f"background-{number}", "resync", background=True)
    for number in range(40):
        queue.add(f"urgent-{number}", "event")
    queue.add("background-39", "event")
    async with running(queue):
        await until(lambda: len(order) == 80)
    first = order[:41]
    assert sum(key.startswith("urgent") for key in first) >= 34
    assert sum(key.startswith("background") for key in first) >= 4
    assert order.index("background-39") < 60
    assert len(set(order)) == 80


async def test_age_and_depth_are_told() -> None:
    now = [100.0]

    async def work(_key: str, _triggers: frozenset[str]) -> None:
        return None

    queue = WorkQueue(work, workers=1, clock=lambda: now[0])
    assert (queue.depth, queue.oldest_age()) == (0, 0.0)
    queue.add("a", "event")
    now[0] += 7
    queue.add("b", "event")
    assert (queue.depth, queue.oldest_age()) == (2, 7.0)


def test_delays_keep_one_time_per_key() -> None:
    delays: Delays[str] = Delays()
    delays.put("a", 5.0, "x")
    delays.put("b", 1.0, "x")
    delays.put("a", 2.0, "y")
    assert delays.next == 1.0
    assert delays.pop(1.5) == [("b", "x")]
    assert delays.pop(2.0) == [("a", "y")]
    assert delays.pop(10.0) == []
    delays.put("c", 11.0, "x")
    delays.drop("c")
    assert delays.pop(20.0) == []


@pytest.mark.parametrize("failures", [1, 2, 10, 10_000])
def test_back_off_grows_to_its_limit_and_never_ends(failures: int) -> None:
    backoff = Backoff(first=0.5, limit=60.0)
    longest = min(60.0, 0.5 * 2.0 ** (failures - 1)) if failures < 20 else 60.0
    delays = {backoff.delay(failures) for _ in range(200)}
    assert longest / 2 <= min(delays) <= max(delays) <= longest
    assert len(delays) > 100


def test_back_off_can_be_iterated_for_ever() -> None:
    delays = iter(Backoff(first=1.0, limit=8.0))
    values = [next(delays) for _ in range(100)]
    assert values[0] <= 1.0
    assert all(4.0 <= value <= 8.0 for value in values[4:])


async def test_it_ends_when_it_is_cancelled_as_a_change_comes() -> None:
    async def work(_: str, __: frozenset[str]) -> None: ...

    queue = WorkQueue(work, workers=1, backoff=FAST)
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0.01)
    queue.schedule("a", 100)
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
