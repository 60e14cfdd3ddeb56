"""Whole passes, with the operator's own decisions, against the small API server: what is read, made and removed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import scenario
from aiohttp import web
from api_server import ApiServer, failure

from tunesmith_api import labels
from tunesmith_operator.decide import decide
from tunesmith_operator.errors import ApiError
from tunesmith_operator.gather import Gatherer, View
from tunesmith_operator.inputs import JobKey
from tunesmith_operator.kube import KubeClient
from tunesmith_operator.permissions import Permissions
from tunesmith_operator.queue import RETRY, TIMER
from tunesmith_operator.reconcile import Memory, Reconciler
from tunesmith_operator.status import times
from tunesmith_operator.status.writing import worth_writing
from tunesmith_operator.triggers import CHILD, JOB, RESYNC

Object = dict[str, Any]
KEY = JobKey("FineTuneJob", "default", "tiny")
JOB_EVENT = frozenset({JOB + "x"})
CHILD_EVENT = frozenset({CHILD + "x"})
FIRST, SECOND = (("pytorchjobs", "default", f"tiny-ftj-{number}") for number in (1, 2))


class Silent:
    """No pod answers."""

    def sample(self, _key: JobKey) -> None:
        return None


@pytest.fixture
def operator(client: KubeClient) -> Callable[..., Reconciler]:
    """Make what a new process has: nothing is remembered. Under pressure it puts first statuses off."""

    def start(*, pressed: bool = False) -> Reconciler:
        view = View(
            profiles=scenario.profiles(scenario.PROFILES),
            permissions=Permissions(),
            samples=Silent(),
            terminations=lambda _: {},
            installed=lambda: True,
        )
        memory = Memory(
            hint=lambda _: None,
            poll=lambda _key, _target: None,
            wrote=lambda _: None,
            forget=lambda _: None,
            pressed=lambda: pressed,
            later=lambda _: None,
        )
        return Reconciler(client, Gatherer(client, view), memory, decide=decide, worth_writing=worth_writing)

    return start


Operator = Callable[..., Reconciler]


def apply(api: ApiServer, **spec: Any) -> None:
    api.put("persistentvolumeclaims", {"metadata": {"name": "corpus"}, "status": {"phase": "Bound"}})
    architecture = {"hiddenSize": 64, "intermediateSize": 128, "numHiddenLayers": 2, "numAttentionHeads": 4}
    job = {
        "kind": "FineTuneJob",
        "metadata": {"name": "tiny", "generation": 1},
        "spec": {
            "method": "pretrain",
            "accelerator": "cpu",
            "model": {"architecture": architecture},
            "datasets": [{"claim": {"name": "corpus", "path": "train.txt"}}],
            **spec,
        },
    }
    api.put("finetunejobs", job)


def stored(api: ApiServer) -> Object:
    return api.objects["finetunejobs", "default", "tiny"]


def edit(api: ApiServer, **spec: Any) -> None:
    job = stored(api)
    metadata = {**job["metadata"], "generation": job["metadata"]["generation"] + 1}
    api.put("finetunejobs", {**job, "metadata": metadata, "spec": {**job["spec"], **spec}})


def status(api: ApiServer) -> Object:
    return dict(stored(api).get("status") or {})


def reason(api: ApiServer) -> str:
    return str(next(each["reason"] for each in status(api)["conditions"] if each["type"] == "Ready"))


def ago(seconds: float) -> str:
    return times.render(datetime.now(UTC) - timedelta(seconds=seconds))


def two_minutes_pass(api: ApiServer) -> None:
    """Have a job that is over be over for two minutes."""
    job = stored(api)
    api.put("finetunejobs", {**job, "status": {**job["status"], "completionTime": ago(120)}})


def pod(api: ApiServer, child: str = "tiny-ftj-1", index: int = 0, ended: Object | None = None) -> None:
    """Have a pod of a PyTorchJob run, or be at its end."""
    owner = api.objects["pytorchjobs", "default", child]["metadata"]
    name = f"{child}-worker-{index}"
    known = api.objects.get(("pods", "default", name), {"metadata": {}})["metadata"]
    marks = {**owner["labels"], labels.PYTORCHJOB_NAME: child, labels.REPLICA_INDEX: str(index)}
    state = {"running": {"startedAt": ago(0)}} if ended is None else {"terminated": {"reason": "x", **ended}}
    phase = "Running" if ended is None else "Failed" if ended["exitCode"] else "Succeeded"
    api.put(
        "pods",
        {
            "metadata": {
                **({"uid": known["uid"]} if known else {}),
                "name": name,
                "labels": marks,
                "ownerReferences": [{"uid": owner["uid"], "controller": True}],
            },
            "spec": {"nodeName": "node-a"},
            "status": {
                "phase": phase,
                "podIP": "10.0.0.1",
                "containerStatuses": [{"name": "pytorch", "state": state}],
            },
        },
    )


async def begun(api: ApiServer, operator: Operator, **spec: Any) -> Reconciler:
    """Return what has made a first attempt whose pods run and are recorded."""
    apply(api, **spec)
    running = operator()
    await running.work(KEY, JOB_EVENT)
    for index in range(spec.get("numNodes", 1)):
        pod(api, index=index)
    await running.work(KEY, CHILD_EVENT)
    return running


def no_more(method: str) -> Callable[[web.Request], web.Response | None]:
    """Return the fault by which a kind of request fails."""
    return lambda request: failure(503, "ServiceUnavailable") if request.method == method else None


async def test_pods_that_outlive_a_failed_job_are_stopped(api: ApiServer, operator: Operator) -> None:
    running = await begun(api, operator, numNodes=2)
    pod(api, index=0, ended={"exitCode": 11, "finishedAt": ago(0)})
    assert await running.work(KEY, CHILD_EVENT) == 60
    assert status(api)["state"] == "Failed"
    assert FIRST in api.objects, "the training operator has time to stop them"
    two_minutes_pass(api)
    await running.work(KEY, frozenset({TIMER}))
    assert FIRST not in api.objects


async def test_a_stuck_peer_of_the_last_attempt_is_stopped(api: ApiServer, operator: Operator) -> None:
    running = await begun(api, operator, numNodes=2, runPolicy={"backoffLimit": 0})
    pod(api, index=0, ended={"exitCode": 0, "finishedAt": ago(400)})
    await running.work(KEY, frozenset({TIMER}))
    assert reason(api) == "BackoffLimitExceeded"
    two_minutes_pass(api)
    await operator().work(KEY, CHILD_EVENT)
    assert FIRST not in api.objects


async def test_a_run_that_is_said_to_be_stopped_is(api: ApiServer, operator: Operator) -> None:
    apply(api)
    await operator(pressed=True).work(KEY, JOB_EVENT)
    pod(api)
    edit(api, training={"maxSteps": 5})
    api.faults.append(no_more("DELETE"))
    with pytest.raises(ApiError):
        await operator().work(KEY, CHILD_EVENT)
    assert not status(api), "what could not be stopped is not said to be"
    api.faults.clear()
    await operator().work(KEY, frozenset({RETRY}))
    assert reason(api) == "SpecChanged"
    assert FIRST not in api.objects


async def test_all_pods_of_the_former_run_are_waited_for(api: ApiServer, operator: Operator) -> None:
    running = await begun(api, operator, numNodes=2)
    edit(api, runId="2", numNodes=1)
    await running.work(KEY, JOB_EVENT)
    assert FIRST not in api.objects
    api.remove("pods", "default", "tiny-ftj-1-worker-0")
    for _ in range(4):
        await running.work(KEY, CHILD_EVENT)
    assert SECOND not in api.objects, "worker 1 still saves its checkpoint"
    api.remove("pods", "default", "tiny-ftj-1-worker-1")
    for _ in range(4):
        await running.work(KEY, CHILD_EVENT)
    assert SECOND in api.objects


async def test_pods_whose_status_was_lost_are_known_as_the_own(api: ApiServer, operator: Operator) -> None:
    apply(api)
    await operator(pressed=True).work(KEY, JOB_EVENT)
    assert not status(api)
    pod(api)
    await operator().work(KEY, CHILD_EVENT)
    assert reason(api) == "Starting"
    assert status(api)["startTime"]
    assert status(api)["attempts"][0]["pods"]


async def test_an_attempt_that_was_never_told_is_seen_with_its_pods(api: ApiServer, operator: Operator) -> None:
    running = await begun(api, operator)
    api.remove("pods", "default", "tiny-ftj-1-worker-0")
    await running.work(KEY, CHILD_EVENT)
    assert FIRST not in api.objects
    api.faults.append(no_more("PATCH"))
    with pytest.raises(ApiError):
        await running.work(KEY, JOB_EVENT)
    api.faults.clear()
    pod(api, "tiny-ftj-2")
    await operator().work(KEY, CHILD_EVENT)
    assert reason(api) == "Starting", "its creation lies back, and its pods are not missing"
    assert status(api)["attempts"][1]["pods"]


async def test_a_name_conflict_ends_with_the_stranger(api: ApiServer, operator: Operator) -> None:
    apply(api)
    api.put("pytorchjobs", {"metadata": {"name": "tiny-ftj-1"}})
    running = operator()
    await running.work(KEY, JOB_EVENT)
    assert reason(api) == "NameConflict"
    api.remove("pytorchjobs", "default", "tiny-ftj-1")
    await running.work(KEY, frozenset({RESYNC}))
    assert status(api)["attempts"][0]["childUid"] == api.objects[FIRST]["metadata"]["uid"]
    assert "completionTime" not in status(api)


async def test_a_leftover_under_the_name_of_a_later_attempt_is_told(api: ApiServer, operator: Operator) -> None:
    running = await begun(api, operator)
    owner = {"apiVersion": labels.API_VERSION, "kind": "FineTuneJob", "name": "tiny", "uid": "former"}
    api.put("pytorchjobs", {"metadata": {"name": "tiny-ftj-2", "ownerReferences": [owner]}})
    api.remove("pods", "default", "tiny-ftj-1-worker-0")
    await running.work(KEY, CHILD_EVENT)
    assert await running.work(KEY, JOB_EVENT) == 2.0
    assert reason(api) == "WaitingForRemoval"
    assert "tiny-ftj-2" in status(api)["conditions"][0]["message"]
    api.remove("pytorchjobs", "default", "tiny-ftj-2")
    await running.work(KEY, frozenset({TIMER}))
    assert status(api)["attempts"][1]["childUid"] == api.objects[SECOND]["metadata"]["uid"]
