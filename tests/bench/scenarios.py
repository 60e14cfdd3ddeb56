"""The measurements, each a function from a running cluster to rows of the table."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api import CHILDREN, JOBS
from workload import NAMESPACE, Trainers, create_jobs, delete_all, job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api import Api
    from operator_process import Operator, PythonProcess

_PROMPT_SECONDS = 0.5
_CALM_LOOKS = 10
# Of the kinds the operator writes, those that nobody else writes while the training operator is at zero.
WRITTEN = ("finetunejobs", "alignmentjobs", "pytorchjobs", "persistentvolumeclaims")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    value: float
    unit: str
    aim: str = ""


async def until(done: Callable[[], Awaitable[bool]], seconds: float, what: str, pause: float = 0.2) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: It did not hold in time.
    """
    end = time.monotonic() + seconds
    while not await done():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} took longer than {seconds:.0f} s")
        await asyncio.sleep(pause)


class Children:
    """Counts PyTorchJobs through a watch of its own, with the moment each was seen."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self, api: Api) -> None:
        """Begin to watch; what exists already is not counted."""
        path = CHILDREN.format(namespace=NAMESPACE)
        listed = await api.request("GET", f"{path}?limit=1")
        self._task = asyncio.create_task(self._follow(api, path, listed["metadata"]["resourceVersion"]))

    async def _follow(self, api: Api, path: str, version: str) -> None:
        async for event in api.watch(path, version):
            if event["type"] == "ADDED":
                self.seen.setdefault(event["object"]["metadata"]["name"], time.monotonic())

    async def stop(self) -> None:
        """Stop watching."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def settled(operator: Operator, seconds: float = 600) -> None:
    """Wait until no job has waited for its turn for a while; running jobs get one each time they are polled."""
    calm = 0

    async def quiet() -> bool:
        nonlocal calm
        calm = calm + 1 if await operator.metric("tunesmith_queue_oldest_age_seconds") < _PROMPT_SECONDS else 0
        return calm >= _CALM_LOOKS

    await until(quiet, seconds, "catching up", pause=0.5)


async def children_of(api: Api, prefix: str, first: int, count: int) -> float:
    """Create jobs as fast as the API server takes them; return the seconds until all their children exist."""
    children = Children()
    await children.start(api)
    start = time.monotonic()
    await create_jobs(api, prefix, first, count)

    async def complete() -> bool:
        return len(children.seen) >= count

    await until(complete, 60 + count / 5, f"{count} children")
    await children.stop()
    return max(children.seen.values()) - start


async def rival_burst(api: Api, rival: PythonProcess, count: int) -> list[Row]:
    """Create jobs before the bare kopf operator, and remove them again."""
    await children_of(api, "first", 0, 1)  # once it has done one, it is ready
    before = rival.usage()
    seconds = await children_of(api, "rival", 0, count)
    used = rival.usage().cpu_seconds - before.cpu_seconds
    await rival.stop()
    await delete_all(api)
    return [
        Row(f"{count} jobs, bare kopf: all children exist after", seconds, "s"),
        Row(f"{count} jobs, bare kopf: processor time", used, "s"),
    ]


async def burst(api: Api, operator: Operator, first: int, count: int) -> list[Row]:
    """Create jobs as fast as the API server takes them; wait for all their children."""
    before = operator.usage()
    seconds = await children_of(api, "burst", first, count)
    await settled(operator)
    after = operator.usage()
    aim = {1000: "≤ 7", 10000: "≤ 71"}.get(count, "")
    memory = {1000: "≤ 120", 10000: "≤ 200"}.get(first + count, "")
    return [
        Row(f"{count} jobs: all children exist after", seconds, "s", aim),
        Row(f"{count} jobs: rate", count / seconds, "children/s", "≥ 150"),
        Row(f"{count} jobs: operator's processor time", after.cpu_seconds - before.cpu_seconds, "s"),
        Row(f"{first + count} objects: resident", after.resident_mib, "MiB", memory),
        Row(f"{first + count} objects: peak resident", after.peak_mib, "MiB"),
    ]


async def idle_latency(api: Api, count: int) -> list[Row]:
    """Create one job at a time on an idle operator; measure apply → PyTorchJob as a watcher sees it."""
    children = Children()
    await children.start(api)
    delays = []
    for number in range(count):
        name = f"idle-{number:05d}"
        start = time.monotonic()
        await api.request("POST", JOBS.format(namespace=NAMESPACE), job(name))
        child = f"{name}-ftj-1"

        async def seen(child: str = child) -> bool:
            return child in children.seen

        await until(seen, 30, f"the child of {name}", pause=0.01)
        delays.append(1000 * (children.seen[child] - start))
        await asyncio.sleep(0.1)
    await children.stop()
    cuts = statistics.quantiles(delays, n=100)
    return [
        Row("idle: apply → PyTorchJob, p50", cuts[49], "ms"),
        Row("idle: apply → PyTorchJob, p99", cuts[98], "ms", "≤ 250"),
    ]


async def writes(api: Api) -> float:
    """Return the number of writes to jobs, their children and claims that the API server has answered."""
    text = await api.request("GET", "/metrics")
    pattern = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
    total = 0.0
    for labels, value in pattern.findall(text):
        fields = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if fields["verb"] in {"POST", "PUT", "PATCH", "APPLY", "DELETE"} and fields["resource"] in WRITTEN:
            total += float(value)
    return total


async def idle_minute(api: Api, operator: Operator, objects: int, seconds: int = 60) -> list[Row]:
    """Count writes and processor time while nothing happens."""
    # What is told only after half a minute, such as a training operator that makes no pods, is told by then.
    await asyncio.sleep(45)
    before, used = await writes(api), operator.usage().cpu_seconds
    await asyncio.sleep(seconds)
    return [
        Row(f"{objects} objects: writes in an idle minute", await writes(api) - before, "", "0"),
        Row(f"{objects} objects: processor time in an idle minute", operator.usage().cpu_seconds - used, "s"),
    ]


async def running(api: Api, operator: Operator, count: int, seconds: int = 60) -> list[Row]:
    """Give jobs a pod that trains; measure polls, status writes and processor time of one minute."""
    trainers = Trainers()
    await trainers.start()
    try:
        await trainers.run_children(api, count)

        async def polled() -> bool:
            return trainers.polls >= count

        await until(polled, 180, f"first polls of {count} pods", pause=1)
        await settled(operator)
        polls, before, used = trainers.polls, await writes(api), operator.usage().cpu_seconds
        await asyncio.sleep(seconds)
        return [
            Row(f"{count} running: polls a minute", trainers.polls - polls, ""),
            Row(f"{count} running: writes a minute", await writes(api) - before, ""),
            Row(f"{count} running: processor time a minute", operator.usage().cpu_seconds - used, "s"),
            Row(f"{count} running: resident", operator.usage().resident_mib, "MiB"),
        ]
    finally:
        await trainers.stop()


async def cold_start(start: Callable[[], Awaitable[Operator]], objects: int) -> tuple[Operator, list[Row]]:
    """Start the operator before objects that exist already."""
    operator = await start()
    ready = await operator.ready(300)
    await settled(operator)
    seconds = time.monotonic() - operator.started
    usage: Any = operator.usage()
    return operator, [
        Row(f"cold start with {objects}: ready after", ready, "s"),
        Row(f"cold start with {objects}: all looked at after", seconds, "s"),
        Row(f"cold start with {objects}: peak resident", usage.peak_mib, "MiB", "≤ 200"),
    ]
