import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tunesmith_operator.inputs import JobKey
from tunesmith_operator.progress import Poller

KEY = JobKey("FineTuneJob", "default", "a")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def progress(step: int, **fields: Any) -> dict[str, Any]:
    return {"attempt": 1, "podUid": "uid", "phase": "training", "currentStep": step, **fields}


@asynccontextmanager
async def polling(answer: Answer, *, tell: float = 0.05) -> AsyncIterator[tuple[Poller, list[JobKey]]]:
    app = web.Application()
    app.router.add_get("/progress", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    moved: list[JobKey] = []
    poller = Poller(moved.append, interval=0.03, tell_interval=tell, port=runner.addresses[0][1])
    task = asyncio.create_task(poller.run())
    try:
        yield poller, moved
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.cleanup()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_progress_is_kept_and_told_only_when_it_moves() -> None:
    step, asked = [1], [0]

    async def answer(_: web.Request) -> web.Response:
        asked[0] += 1
        return web.json_response(progress(step[0], secondsSinceHeartbeat=asked[0]))

    async with polling(answer) as (poller, moved):
        poller.poll(KEY, ("uid", "127.0.0.1"))
        await until(lambda: asked[0] > 8)
        assert moved == [KEY]
        step[0] = 2
        await until(lambda: len(moved) == 2)
        sample = poller.sample(KEY)
        assert sample is not None
        assert sample.progress.current_step == 2
        poller.poll(KEY, None)
        assert poller.sample(KEY) is None
        await asyncio.sleep(0.05)
        before = asked[0]
        await asyncio.sleep(0.1)
        assert asked[0] == before


async def test_steady_progress_is_told_at_most_at_the_status_interval() -> None:
    asked = [0]

    async def answer(_: web.Request) -> web.Response:
        asked[0] += 1
        return web.json_response(progress(asked[0]))

    async with polling(answer, tell=0.3) as (poller, moved):
        poller.poll(KEY, ("uid", "127.0.0.1"))
        await asyncio.sleep(1.0)
    assert asked[0] > 10
    assert 2 <= len(moved) <= 5


async def test_a_new_phase_is_told_at_once() -> None:
    phase = ["starting"]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(progress(0, phase=phase[0]))

    async with polling(answer, tell=1000) as (poller, moved):
        poller.poll(KEY, ("uid", "127.0.0.1"))
        await until(lambda: len(moved) == 1)
        phase[0] = "training"
        await until(lambda: len(moved) == 2)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"{}",
        b"[1, 2]",
        b"null",
        b"\xff\xfe",
        json.dumps(progress(-1)).encode(),
        json.dumps({**progress(1), "podUid": "uid of another pod"}).encode(),
        json.dumps(progress(1, epoch=float("nan"))).encode(),
        json.dumps(progress(1, metrics={f"m{number}": 1 for number in range(1000)})).encode(),
        b'{"attempt":' * 20_000,
    ],
)
async def test_garbage_is_no_progress(body: bytes) -> None:
    asked = [0]

    async def answer(_: web.Request) -> web.Response:
        asked[0] += 1
        return web.Response(body=body, content_type="application/json")

    async with polling(answer) as (poller, moved):
        poller.poll(KEY, ("uid", "127.0.0.1"))
        await until(lambda: asked[0] > 2)
        assert poller.sample(KEY) is None
        assert moved == []


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_only_200_counts_and_redirects_are_not_followed(status: int) -> None:
    asked = [0]

    async def answer(request: web.Request) -> web.Response:
        asked[0] += 1
        return web.json_response(progress(1), status=status, headers={"Location": str(request.url)})

    async with polling(answer) as (poller, _):
        poller.poll(KEY, ("uid", "127.0.0.1"))
        await until(lambda: asked[0] > 2)
        assert poller.sample(KEY) is None


async def test_an_endless_answer_is_cut_at_the_limit() -> None:
    sent = [0]

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while sent[0] < 100 * 2**20:
            await response.write(b" " * 65536)
            sent[0] += 65536
        return response

    async with polling(answer) as (poller, _):
        poller.poll(KEY, ("uid", "127.0.0.1"))
        await until(lambda: sent[0] > 65536)
        await asyncio.sleep(0.3)
        poller.poll(KEY, None)
        assert poller.sample(KEY) is None
    assert sent[0] < 100 * 2**20


async def test_slow_pods_do_not_hold_up_the_others() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.host.startswith("127.0.0.2"):
            await asyncio.sleep(30)
        return web.json_response(progress(1))

    async with polling(answer) as (poller, moved):
        for number in range(8):
            poller.poll(JobKey("FineTuneJob", "default", f"slow-{number}"), ("uid", "127.0.0.2"))
        poller.poll(KEY, ("uid", "127.0.0.1"))
        await until(lambda: moved == [KEY])


async def test_it_ends_when_it_is_cancelled_as_a_pod_comes() -> None:
    poller = Poller(lambda _: None, interval=10, tell_interval=15)
    task = asyncio.create_task(poller.run())
    await asyncio.sleep(0.01)
    poller.poll(KEY, ("uid", "127.0.0.1"))
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_what_is_no_address_is_not_asked() -> None:
    poller = Poller(lambda _: None, interval=10, tell_interval=15)
    poller.poll(KEY, ("uid", "example.com/steal?"))
    assert len(poller) == 0
    poller.poll(KEY, ("uid", "fd00::1"))
    assert len(poller) == 1
