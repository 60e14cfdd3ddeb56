"""Passes against the small API server, with decisions made up here: what is done, in which order, and how often."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web
from api_server import ApiServer, failure

from tunesmith_operator.gather import Gatherer, View
from tunesmith_operator.inputs import Create, Decision, Delete, Inputs, JobKey, Object
from tunesmith_operator.kube import KubeClient
from tunesmith_operator.permissions import Permissions
from tunesmith_operator.reconcile import Memory, Reconciler
from tunesmith_operator.triggers import JOB, STATUS

KEY = JobKey("FineTuneJob", "default", "a")
EVENT = frozenset({JOB + "x"})
CHILD = "a-ftj-1"


class Silent:
    """No pod is polled."""

    def sample(self, _key: JobKey) -> None:
        return None


@dataclass
class Bench:
    """A reconciler and what it was told and asked."""

    reconciler: Reconciler
    seen: list[Inputs]
    polls: list[Any] = field(default_factory=list)
    forgotten: list[JobKey] = field(default_factory=list)
    put_off: list[JobKey] = field(default_factory=list)
    pressed: bool = False
    hints: dict[JobKey, Object] = field(default_factory=dict)


@pytest.fixture
def make(client: KubeClient) -> Callable[[Callable[[Inputs], Decision]], Bench]:
    """Make a reconciler for a function that decides."""

    def build(decide: Callable[[Inputs], Decision]) -> Bench:
        seen: list[Inputs] = []
        forgotten: list[JobKey] = []
        put_off: list[JobKey] = []

        def deciding(inputs: Inputs) -> Decision:
            seen.append(inputs)
            return decide(inputs)

        def worth(old: Mapping[str, Any], new: Mapping[str, Any], _last: datetime | None, _now: datetime) -> bool:
            return old != new

        view = View(
            profiles={}, permissions=Permissions(), samples=Silent(), terminations=lambda _: {}, installed=lambda: True
        )
        memory = Memory(
            hint=lambda key: bench.hints.pop(key, None),
            poll=lambda key, target: bench.polls.append((key, target)),
            wrote=lambda _: None,
            forget=forgotten.append,
            pressed=lambda: bench.pressed,
            later=put_off.append,
        )
        reconciler = Reconciler(client, Gatherer(client, view), memory, decide=deciding, worth_writing=worth)
        bench = Bench(reconciler, seen, forgotten=forgotten, put_off=put_off)
        return bench

    return build


Make = Callable[[Callable[[Inputs], Decision]], Bench]


def manifest(kind: str, name: str, uid: str) -> dict[str, Any]:
    owner = {"apiVersion": "tunesmith.dev/v1alpha1", "kind": "FineTuneJob", "name": "a", "uid": uid, "controller": True}
    return {"kind": kind, "metadata": {"name": name, "ownerReferences": [owner]}}


def start(inputs: Inputs) -> Decision:
    """Create a claim, the frozen run and the child; tell of the child's UID once it is known."""
    uid = inputs.job["metadata"]["uid"]
    if inputs.child_error is not None:
        return Decision(status={"state": "Waiting", "reason": inputs.child_error.reason}, requeue_after=30)
    if inputs.child is not None:
        return Decision(
            status={"state": "Starting", "attempts": [{"number": 1, "childUid": inputs.child["metadata"]["uid"]}]}
        )
    actions = (
        Create(manifest("ConfigMap", "a-ftj-run-1", uid), "owned"),
        Create(manifest("PyTorchJob", CHILD, uid), "owned"),
    )
    return Decision(status={"state": "Starting", "attempts": [{"number": 1}]}, actions=actions)


def apply(api: ApiServer, **fields: Any) -> dict[str, Any]:
    return api.put("finetunejobs", {"metadata": {"name": "a", "generation": 1}, "spec": {}, **fields})


def status(api: ApiServer) -> dict[str, Any]:
    return dict(api.objects["finetunejobs", "default", "a"].get("status") or {})


def verbs(api: ApiServer) -> list[str]:
    return [f"{method} {path.split('?')[0].rsplit('/', 1)[-1]}" for method, path in api.writes()]


async def test_a_first_pass_needs_three_writes_and_one_status(api: ApiServer, make: Make) -> None:
    apply(api)
    bench = make(start)
    assert await bench.reconciler.work(KEY, EVENT) is None
    assert verbs(api) == ["POST configmaps", "POST pytorchjobs", "PATCH status"]
    child = api.objects["pytorchjobs", "default", CHILD]
    assert status(api)["attempts"] == [{"number": 1, "childUid": child["metadata"]["uid"]}]
    await bench.reconciler.work(KEY, EVENT)
    assert len(api.writes()) == 3


async def test_a_job_that_was_just_told_is_not_read_again(api: ApiServer, make: Make) -> None:
    bench = make(start)
    bench.hints[KEY] = apply(api)
    await bench.reconciler.work(KEY, EVENT)
    assert not [path for method, path in api.requests if method == "GET" and "finetunejobs" in path]
    assert status(api)["state"] == "Starting"


async def test_a_stale_hint_writes_nothing_wrong(api: ApiServer, make: Make) -> None:
    stale = {"metadata": dict(apply(api)["metadata"]), "spec": {}}
    bench = make(start)
    await bench.reconciler.work(KEY, EVENT)
    api.remove("pytorchjobs", "default", CHILD)
    bench.hints[KEY] = stale

    def ended(inputs: Inputs) -> Decision:
        if inputs.job.get("status"):
            return Decision(status=inputs.job["status"])
        return start(inputs)

    other = make(ended)
    other.hints[KEY] = stale
    writes = len(api.writes())
    await other.reconciler.work(KEY, EVENT)
    assert ("pytorchjobs", "default", CHILD) not in api.objects
    assert verbs(api)[writes:] == ["POST configmaps"]


async def test_a_pass_that_was_cut_short_is_taken_up(api: ApiServer, make: Make) -> None:
    job = apply(api)
    child = api.put("pytorchjobs", manifest("PyTorchJob", CHILD, job["metadata"]["uid"]))
    bench = make(start)
    await bench.reconciler.work(KEY, EVENT)
    assert status(api)["attempts"][0]["childUid"] == child["metadata"]["uid"]
    assert bench.seen[-1].child is not None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (failure(403, "Forbidden", "exceeded quota"), "Forbidden"),
        (failure(422, "Invalid", "spec"), "Invalid"),
        (failure(404, "NotFound", "the server could not find the requested resource"), "NotFound"),
        (failure(500, "InternalError", "failed calling webhook"), "InternalError"),
    ],
)
async def test_a_refused_child_is_told_and_waited_for(
    api: ApiServer, make: Make, answer: web.Response, reason: str
) -> None:
    apply(api)
    api.faults.append(lambda request: answer if request.method == "POST" and "pytorchjobs" in request.path else None)
    bench = make(start)
    assert await bench.reconciler.work(KEY, EVENT) == 30
    assert status(api) == {"state": "Waiting", "reason": reason}
    assert len(bench.seen) == 2
    assert bench.seen[-1].run_config is not None, "the run is frozen, which the status must tell"


async def test_a_strangers_child_is_neither_adopted_nor_touched(api: ApiServer, make: Make) -> None:
    apply(api)
    stranger = api.put("pytorchjobs", {"metadata": {"name": CHILD}})
    bench = make(lambda inputs: start(inputs) if inputs.child_error else start(_without_child(inputs)))
    await bench.reconciler.work(KEY, EVENT)
    assert status(api) == {"state": "Waiting", "reason": "NameConflict"}
    assert api.objects["pytorchjobs", "default", CHILD] == stranger


def _without_child(inputs: Inputs) -> Inputs:
    return Inputs(inputs.now, inputs.operator_version, inputs.profiles, inputs.key, inputs.job)


async def test_a_leftover_of_an_earlier_job_is_waited_out(api: ApiServer, make: Make) -> None:
    apply(api)
    api.put("pytorchjobs", manifest("PyTorchJob", CHILD, "uid of the earlier one"))
    bench = make(lambda inputs: start(inputs) if inputs.child_error else start(_without_child(inputs)))
    assert await bench.reconciler.work(KEY, EVENT) == 30
    assert status(api) == {"state": "Waiting", "reason": "Leftover"}
    assert bench.seen[-1].child_error is not None
    assert bench.seen[-1].child_error.leftover


async def test_a_change_meanwhile_begins_the_pass_again(api: ApiServer, make: Make) -> None:
    apply(api)
    changed: list[int] = []

    def decide(inputs: Inputs) -> Decision:
        if not changed:
            changed.append(1)
            apply(api, spec={"new": True})
        return Decision(status={"saw": bool(inputs.job["spec"].get("new"))})

    bench = make(decide)
    await bench.reconciler.work(KEY, EVENT)
    assert status(api) == {"saw": True}


async def test_an_end_is_written_before_the_child_is_deleted(api: ApiServer, make: Make) -> None:
    apply(api, status={"attempts": [{"number": 1, "child": CHILD}]})
    child = api.put("pytorchjobs", {"metadata": {"name": CHILD}})

    def decide(inputs: Inputs) -> Decision:
        attempt = {"number": 1, "child": CHILD, "endTime": "2026-01-31T12:00:00Z", "result": "Crashed"}
        actions = (Delete("PyTorchJob", CHILD, child["metadata"]["uid"]),) if inputs.child else ()
        return Decision(status={"attempts": [attempt]}, actions=actions, status_first=True)

    await make(decide).reconciler.work(KEY, EVENT)
    assert verbs(api) == ["PATCH status", f"DELETE {CHILD}"]


async def test_a_job_that_is_gone_is_forgotten(make: Make) -> None:
    bench = make(start)
    assert await bench.reconciler.work(KEY, EVENT) is None
    assert bench.forgotten == [KEY]
    assert bench.polls == [(KEY, None)]
    assert bench.seen == []


async def test_under_pressure_the_first_status_is_written_later(api: ApiServer, make: Make) -> None:
    apply(api)
    bench = make(start)
    bench.pressed = True
    await bench.reconciler.work(KEY, EVENT)
    assert status(api) == {}
    assert bench.put_off == [KEY]
    reads = len(api.requests)
    await bench.reconciler.work(KEY, frozenset({STATUS}))
    assert status(api)["state"] == "Starting"
    assert len(api.requests) == reads + 1


async def test_an_event_before_the_put_off_status_means_a_whole_pass(api: ApiServer, make: Make) -> None:
    apply(api)
    bench = make(start)
    bench.pressed = True
    await bench.reconciler.work(KEY, EVENT)
    bench.pressed = False
    await bench.reconciler.work(KEY, frozenset({STATUS, *EVENT}))
    assert bench.seen[-1].child is not None
    assert status(api)["attempts"][0]["childUid"]


async def test_a_job_that_is_over_costs_one_read(api: ApiServer, make: Make) -> None:
    over = {"completionTime": "2026-01-31T12:00:00Z", "observedGeneration": 1}
    apply(api, status=over)
    bench = make(lambda inputs: Decision(status=inputs.job["status"]))
    await bench.reconciler.work(KEY, EVENT)
    assert len(api.requests) == 1


async def test_pods_of_an_earlier_job_are_seen_before_the_first_attempt(api: ApiServer, make: Make) -> None:
    apply(api)
    api.put("pods", {"metadata": {"name": f"{CHILD}-worker-0"}})
    bench = make(lambda inputs: Decision(status={"pods": len(inputs.pods)}))
    await bench.reconciler.work(KEY, EVENT)
    assert status(api) == {"pods": 1}


async def test_many_pods_are_listed_by_their_label(api: ApiServer, make: Make) -> None:
    apply(api, spec={"numNodes": 8}, status={"attempts": [{"child": CHILD}]})
    for index in range(8):
        labels = {"training.kubeflow.org/job-name": CHILD}
        api.put("pods", {"metadata": {"name": f"{CHILD}-worker-{index}", "labels": labels}})
    bench = make(lambda inputs: Decision(status={"pods": len(inputs.pods)}))
    await bench.reconciler.work(KEY, EVENT)
    assert status(api) == {"pods": 8}


PREPARATION = "a-ftj-prep-1"


async def test_a_preparation_and_its_pods_are_read_while_they_matter(api: ApiServer, make: Make) -> None:
    record = {"job": PREPARATION, "number": 1, "runId": "1"}
    apply(api, status={"preparation": record})
    api.put("jobs", {"metadata": {"name": PREPARATION}})
    for name, owner in (("one", PREPARATION), ("other", "b-ftj-prep-1")):
        api.put("pods", {"metadata": {"name": name, "labels": {"batch.kubernetes.io/job-name": owner}}})
    bench = make(lambda inputs: Decision(status=inputs.job["status"]))
    await bench.reconciler.work(KEY, EVENT)
    (seen,) = bench.seen
    assert seen.preparation is not None
    assert [pod["metadata"]["name"] for pod in seen.preparation_pods] == ["one"]
    apply(api, status={"preparation": {**record, "result": "Succeeded"}})
    reads = len(api.requests)
    await bench.reconciler.work(KEY, EVENT)
    assert bench.seen[-1].preparation is None
    assert not [path for _, path in api.requests[reads:] if "/jobs" in path or "batch.kubernetes.io" in path]


async def test_the_uid_of_a_new_preparation_goes_into_the_first_status(api: ApiServer, make: Make) -> None:
    def decide(inputs: Inputs) -> Decision:
        if inputs.preparation is not None:
            return Decision(status={"state": "Preparing", "uid": inputs.preparation["metadata"]["uid"]})
        job = manifest("Job", PREPARATION, inputs.job["metadata"]["uid"])
        return Decision(status={"state": "Preparing"}, actions=(Create(job, "owned"),))

    apply(api)
    await make(decide).reconciler.work(KEY, EVENT)
    assert verbs(api) == ["POST jobs", "PATCH status"]
    assert status(api)["uid"] == api.objects["jobs", "default", PREPARATION]["metadata"]["uid"]


async def test_a_cycle_of_jobs_ends(api: ApiServer, make: Make) -> None:
    apply(api, spec={"model": {"fromJob": {"name": "b"}}})
    other = {"metadata": {"name": "b"}, "spec": {"model": {"fromJob": {"name": "a"}}}}
    api.put("finetunejobs", other)
    bench = make(lambda inputs: Decision(status={"jobs": len(inputs.jobs)}))
    await bench.reconciler.work(KEY, EVENT)
    assert status(api) == {"jobs": 2}


async def test_all_that_a_job_waits_for_is_read_level_by_level(api: ApiServer, make: Make) -> None:
    takes = {"model": {"fromJob": {"name": "b"}}, "referenceModel": {"fromJob": {"name": "c"}}}
    apply(api, spec=takes)
    complete = {"conditions": [{"type": "Complete", "status": "True"}]}
    for name, before, status_of in (
        ("b", "d", {}),
        ("c", "e", complete),
        ("d", "f", {}),
        ("e", "f", {}),
        ("f", "", {}),
    ):
        spec = {"model": {"fromJob": {"name": before}}}
        api.put("finetunejobs", {"metadata": {"name": name}, "spec": spec, "status": status_of})
    bench = make(lambda inputs: Decision(status={"jobs": sorted(key.name for key in inputs.jobs)}))
    await bench.reconciler.work(KEY, EVENT)
    assert status(api) == {"jobs": ["b", "c", "d", "f"]}
