import asyncio
import socket
import struct
from collections.abc import Callable

import pytest
from aiohttp import web
from api_server import Address, ApiServer, Fault, failure

from tunesmith_operator.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    NotLeadingError,
    RefusedError,
    UnavailableError,
)
from tunesmith_operator.kube import KubeClient, merge_patch
from tunesmith_operator.resources import BY_KIND, CONFIG_MAP, POD, PYTORCHJOB

JOB = BY_KIND["FineTuneJob"]


def times(count: int, answer: Callable[[], web.Response], method: str = "GET") -> Fault:
    """Give an answer to the first so many requests of a method."""
    left = [count]

    def fault(request: web.Request) -> web.Response | None:
        if request.method != method or left[0] <= 0:
            return None
        left[0] -= 1
        return answer()

    return fault


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_read_outlasts_an_outage(api: ApiServer, client: KubeClient, status: int) -> None:
    api.put("pods", {"metadata": {"name": "a"}})
    api.faults.append(times(12, lambda: failure(status, "Trouble")))
    assert (await client.get(POD, "default", "a"))["metadata"]["name"] == "a"
    assert len(api.requests) == 13


async def test_retry_after_is_obeyed(api: ApiServer, client: KubeClient) -> None:
    api.put("pods", {"metadata": {"name": "a"}})
    api.faults.append(times(1, lambda: failure(429, "TooManyRequests", headers={"Retry-After": "0.4"})))
    loop = asyncio.get_running_loop()
    started = loop.time()
    await client.get(POD, "default", "a")
    assert loop.time() - started >= 0.4


async def test_a_connection_that_is_cut_is_no_answer(api: ApiServer, client: KubeClient) -> None:
    left = [3]

    def reset(request: web.Request) -> web.Response | None:
        if left[0] <= 0:
            return None
        left[0] -= 1
        assert request.transport is not None
        request.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        request.transport.abort()
        return web.Response()

    api.put("pods", {"metadata": {"name": "a"}})
    api.faults.append(reset)
    assert await client.find(POD, "default", "a")
    left[0] = 1
    with pytest.raises(UnavailableError):
        await client.create(POD, "default", {"metadata": {"name": "b"}})


async def test_a_throttled_write_is_tried_again_an_unclear_one_is_not(api: ApiServer, client: KubeClient) -> None:
    api.faults.append(times(2, lambda: failure(429, "TooManyRequests"), "POST"))
    await client.create(POD, "default", {"metadata": {"name": "a"}})
    assert len(api.writes()) == 3
    api.faults.append(times(1, lambda: failure(503, "ServiceUnavailable"), "POST"))
    with pytest.raises(UnavailableError):
        await client.create(POD, "default", {"metadata": {"name": "b"}})
    assert len(api.writes()) == 4


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (failure(403, "Forbidden", "exceeded quota: gpus"), RefusedError),
        (failure(422, "Invalid", "spec.x: must not"), RefusedError),
        (failure(400, "BadRequest", "strict decoding error"), RefusedError),
        (failure(500, "InternalError", "failed calling webhook validator: refused"), RefusedError),
        (failure(500, "InternalError", "etcdserver: leader changed"), UnavailableError),
        (failure(409, "Conflict", "quota was modified"), ConflictError),
        (failure(409, "AlreadyExists"), AlreadyExistsError),
        (failure(404, "NotFound", "namespaces x not found"), NotFoundError),
    ],
)
async def test_refusals_are_told_apart(
    api: ApiServer, client: KubeClient, answer: web.Response, error: type[Exception]
) -> None:
    api.faults.append(lambda request: answer if request.method == "POST" else None)
    with pytest.raises(error) as caught:
        await client.create(CONFIG_MAP, "default", {"metadata": {"name": "a"}})
    assert type(caught.value) is error


async def test_after_401_credentials_are_read_again(api: ApiServer, client: KubeClient, address: Address) -> None:
    api.put("pods", {"metadata": {"name": "a"}})
    api.faults.append(times(1, lambda: failure(401, "Unauthorized")))
    assert await client.find(POD, "default", "a")
    assert address.reloads == 1


async def test_the_fence_stops_every_write_and_no_read(api: ApiServer, client: KubeClient) -> None:
    def closed() -> None:
        raise NotLeadingError

    job = api.put("finetunejobs", {"metadata": {"name": "a"}})
    client.fence = closed
    for write in (
        client.create(POD, "default", {"metadata": {"name": "b"}}),
        client.delete(JOB, "default", "a", job["metadata"]["uid"]),
        client.replace(JOB, "default", job),
        client.write_status(JOB, job, {"state": "Failed"}),
    ):
        with pytest.raises(NotLeadingError):
            await write
    assert await client.find(JOB, "default", "a")
    assert api.writes() == []


async def test_a_status_is_replaced_whole_and_only_as_it_was_seen(api: ApiServer, client: KubeClient) -> None:
    api.put(
        "finetunejobs", {"metadata": {"name": "a"}, "spec": {"x": 1}, "status": {"old": 1, "deep": {"a": 1, "b": 2}}}
    )
    seen = await client.get(JOB, "default", "a")
    wanted = {"state": "Running", "deep": {"b": 3}, "list": [1, 2]}
    written = await client.write_status(JOB, seen, wanted)
    assert written["status"] == wanted
    assert written["spec"] == {"x": 1}
    with pytest.raises(ConflictError):
        await client.write_status(JOB, seen, {"state": "Failed"})


def test_a_merge_patch_of_equal_objects_is_empty() -> None:
    value = {"a": 1, "b": {"c": [1, {"d": 2}]}}
    assert merge_patch(value, value) == {}


async def test_delete_spares_another_object_of_the_name(api: ApiServer, client: KubeClient) -> None:
    pod = api.put("pods", {"metadata": {"name": "a"}})
    assert not await client.delete(POD, "default", "a", "uid-of-an-older-one")
    assert await client.find(POD, "default", "a")
    assert await client.delete(POD, "default", "a", pod["metadata"]["uid"])
    assert not await client.delete(POD, "default", "a", pod["metadata"]["uid"])


async def test_lists_come_in_pages_without_managed_fields(api: ApiServer, client: KubeClient) -> None:
    for number in range(25):
        labels = {"odd": "yes"} if number % 2 else {}
        api.put("pods", {"metadata": {"name": f"p{number:02}", "labels": labels, "managedFields": [{}]}})
    pages = [page async for page in client.pages(POD, None, limit=10)]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert not any("managedFields" in pod["metadata"] for page in pages for pod in page)
    assert sum([len(page) async for page in client.pages(POD, "default", labels="odd=yes", limit=10)]) == 12


async def test_a_kind_that_is_not_installed_is_not_served(api: ApiServer, client: KubeClient) -> None:
    assert await client.serves(PYTORCHJOB)
    api.absent.add("pytorchjobs")
    assert not await client.serves(PYTORCHJOB)
