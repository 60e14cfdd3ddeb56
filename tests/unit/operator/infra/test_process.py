"""The operator as a process, against an API server that can be told to misbehave."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from api_server import ApiServer, failure
from running import Operator, ended, operator, until

JOB = {
    "apiVersion": "tunesmith.dev/v1alpha1",
    "kind": "FineTuneJob",
    "spec": {
        "method": "sft",
        "model": {"path": {"claim": "models", "path": "tiny"}},
        "datasets": [{"claim": {"name": "models", "path": "rows.jsonl"}}],
        "accelerator": "cpu",
    },
}


def apply(api: ApiServer, name: str) -> dict[str, Any]:
    return api.put("finetunejobs", {**JOB, "metadata": {"name": name, "generation": 1}})


def status(api: ApiServer, name: str) -> dict[str, Any]:
    return dict(api.objects["finetunejobs", "default", name].get("status") or {})


def children(api: ApiServer) -> list[str]:
    return sorted(name for plural, _, name in api.objects if plural == "pytorchjobs")


async def test_a_job_gets_its_child_and_status_once(api: ApiServer, config: Path, unused_tcp_port: int) -> None:
    async with operator(config, unused_tcp_port) as running:
        apply(api, "early")
        await until(lambda: status(api, "early"))
        apply(api, "late")
        await until(lambda: status(api, "late"))
        assert children(api) == ["early-ftj-1", "late-ftj-1"]
        child = api.objects["pytorchjobs", "default", "late-ftj-1"]
        assert status(api, "late")["attempts"][0]["childUid"] == child["metadata"]["uid"]
        await until(lambda: "leads" in running.log)
        for _ in range(100):
            if (await running.ask("/readyz"))[0] == 200:
                break
            await asyncio.sleep(0.1)
        assert (await running.ask("/healthz"))[0] == 200
        written = len(api.writes())
        await asyncio.sleep(3)  # a comparison with the cluster among it
        assert len(api.writes()) == written
        metrics = (await running.ask("/metrics"))[1]
        assert "tunesmith_lease_held 1.0" in metrics
        assert 'tunesmith_jobs{kind="FineTuneJob",state="' in metrics
        api.remove("finetunejobs", "default", "late")
        await until(
            lambda: ("GET", "/apis/tunesmith.dev/v1alpha1/namespaces/default/finetunejobs/late") in api.requests
        )
        running.process.terminate()
        assert await ended(running, within=45) == 0
    assert api.objects["leases", "default", "operator"]["spec"]["holderIdentity"] == ""
    job = api.objects["finetunejobs", "default", "early"]
    assert set(job["metadata"]) == {"name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation"}


@pytest.mark.slow
async def test_killed_after_any_write_it_goes_on_without_a_second_child(
    api: ApiServer, config: Path, unused_tcp_port: int
) -> None:
    apply(api, "a")
    killed = 0
    for deadly in range(1, 4):
        left = [deadly]
        running: list[Operator] = []

        def kill(request: web.Request, left: list[int] = left, running: list[Operator] = running) -> None:
            if request.method != "GET" and "/leases" not in request.path:
                left[0] -= 1
                if left[0] == 0:
                    asyncio.get_running_loop().call_later(0.001, running[0].process.kill)

        api.faults = [kill]
        async with operator(config, unused_tcp_port) as process:
            running.append(process)
            await until(lambda: process.process.returncode is not None or status(api, "a"))
            killed += process.process.returncode == -signal.SIGKILL
        if status(api, "a"):
            break
        api.faults = []
    async with operator(config, unused_tcp_port):
        await until(lambda: status(api, "a"))
    assert killed
    assert children(api) == ["a-ftj-1"]
    posted = [path for method, path in api.writes() if method == "POST" and "pytorchjobs" in path]
    assert 1 <= len(posted) <= 3
    attempts = status(api, "a")["attempts"]
    assert [attempt["number"] for attempt in attempts] == [1]


@pytest.mark.slow
async def test_it_outlasts_an_outage_of_the_api_server_and_a_lost_reply(
    api: ApiServer, config: Path, unused_tcp_port: int
) -> None:
    async with operator(config, unused_tcp_port) as running:
        await until(lambda: "leads" in running.log)
        api.faults.append(lambda _: failure(503, "ServiceUnavailable"))
        apply(api, "a")
        await asyncio.sleep(6)  # longer than the lease lasts
        assert running.process.returncode is None
        api.lost_replies.append(lambda request: request.method == "POST" and "pytorchjobs" in request.path)
        api.faults.clear()
        await until(lambda: status(api, "a"))
        assert not api.lost_replies
        await asyncio.sleep(3)  # a comparison with the cluster among it
        assert children(api) == ["a-ftj-1"]
        child = api.objects["pytorchjobs", "default", "a-ftj-1"]
        attempts = status(api, "a")["attempts"]
        assert [attempt["childUid"] for attempt in attempts] == [child["metadata"]["uid"]]
        assert running.process.returncode is None


async def test_it_stops_in_time_also_when_nobody_answers(api: ApiServer, config: Path, unused_tcp_port: int) -> None:
    async with operator(config, unused_tcp_port) as running:
        await until(lambda: "leads" in running.log)
        await until(lambda: api._watchers)
        api.faults.append(lambda _: failure(503, "ServiceUnavailable"))
        running.process.terminate()
        assert await ended(running, within=10) == 0
        assert "runs out by itself" in running.log


async def test_a_watch_that_breaks_ends_the_process(api: ApiServer, config: Path, unused_tcp_port: int) -> None:
    async with operator(config, unused_tcp_port) as running:
        await until(lambda: "leads" in running.log)
        await until(lambda: len(api._watchers) == 5)  # both kinds of jobs, PyTorchJobs, pods and the Lease
        api.end_watches({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd is gone"}})
        with contextlib.suppress(TimeoutError):
            await until(lambda: running.process.returncode is not None)
        assert running.process.returncode == 3, running.log
        assert "kopf stopped watching" in running.log


async def test_a_missed_event_is_made_good_by_the_comparison(
    api: ApiServer, config: Path, unused_tcp_port: int
) -> None:
    async with operator(config, unused_tcp_port) as running:
        await until(lambda: "leads" in running.log)
        await asyncio.sleep(1)
        api.deaf = True
        apply(api, "a")
        await until(lambda: status(api, "a"))
        await asyncio.sleep(0.3)
        assert "tunesmith_resync_repaired_total 1.0" in (await running.ask("/metrics"))[1]


@pytest.mark.slow
async def test_the_training_operator_may_come_later(api: ApiServer, config: Path, unused_tcp_port: int) -> None:
    api.absent.add("pytorchjobs")
    async with operator(config, unused_tcp_port) as running:
        apply(api, "a")
        await until(lambda: status(api, "a"))
        ready = status(api, "a")["conditions"][0]
        assert (ready["type"], ready["reason"]) == ("Ready", "TrainingOperatorMissing")
        api.absent.clear()
        await until(lambda: children(api) == ["a-ftj-1"])
        assert any(watcher.plural == "pytorchjobs" for watcher in api._watchers)
        assert running.process.returncode is None


@pytest.mark.slow
async def test_only_one_of_two_works_and_the_other_takes_over(
    api: ApiServer, config: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with operator(config, unused_tcp_port_factory(), "pod-0") as first:
        await until(lambda: "leads" in first.log)
        async with operator(config, unused_tcp_port_factory(), "pod-1") as second:
            await asyncio.sleep(2)
            assert "leads" not in second.log
            first.process.send_signal(signal.SIGSTOP)
            apply(api, "a")
            await until(lambda: status(api, "a"))
            written = len(api.writes())
            first.process.send_signal(signal.SIGCONT)
            assert await ended(first, within=45) == 3
            assert "was taken by pod-1" in first.log
            assert len(api.writes()) == written
            assert children(api) == ["a-ftj-1"]


async def test_wrong_settings_end_it_at_once(config: Path, unused_tcp_port: int) -> None:
    async with operator(config, unused_tcp_port, workers=0) as running:
        assert await ended(running, within=45) == 2
        assert "workers: Input should be greater than or equal to 1" in running.log
        assert "Traceback" not in running.log
