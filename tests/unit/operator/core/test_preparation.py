"""Preparations in the simulated world: once per run, before any PyTorchJob, whatever happens on the way."""

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import scenario
from test_runs import edit
from world import World

from tunesmith_api import labels

Object = dict[str, Any]
PREPARED = ("tiny-ftj-prep-1", "tiny-ftj-1")


def world(**spec: Any) -> World:
    job = {
        "kind": "FineTuneJob",
        "metadata": {"name": "tiny"},
        "spec": {
            "method": "sft",
            "accelerator": "cpu",
            "model": {"path": {"claim": "models"}},
            "datasets": [{"claim": {"name": "corpus", "path": "train.jsonl"}}],
            "prepare": {"mode": "always"},
            **spec,
        },
    }
    bound = {"status": {"phase": "Bound"}}
    return World(scenario.whole_job(job), claims={"corpus": bound, "models": bound})


def preparing(**spec: Any) -> World:
    """Return a world in which the preparation's pod runs and is recorded."""
    made = world(**spec)
    for _ in range(3):
        made.pass_once()
        made.advance(1)
    assert made.status["preparation"]["podUid"]
    assert made.status["state"] == "Preparing"
    return made


def pod(made: World) -> str:
    (uid,) = (p["metadata"]["uid"] for p in made.live_pods() if labels.PREPARATION in p["metadata"]["labels"])
    return str(uid)


def crash(made: World) -> None:
    made.terminate(pod(made), 139)


def delete_pod(made: World) -> None:
    made.delete_pod(pod(made))


def delete_pod_by_force(made: World) -> None:
    made.delete_pod(pod(made), force=True)


def delete_job(made: World) -> None:
    made.delete_batch_job("tiny-ftj-prep-1")


def nothing(made: World) -> None:
    del made


EVENTS = [nothing, crash, delete_pod, delete_pod_by_force, delete_job]


def test_a_run_is_prepared_once_and_then_trained() -> None:
    made = world()
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert [write for write in made.writes if write.startswith("create")] == [
        "create PersistentVolumeClaim tiny-ftj",
        "create ConfigMap tiny-ftj-run-1",
        "create Job tiny-ftj-prep-1",
        "create PyTorchJob tiny-ftj-1",
    ]
    assert "tiny-ftj-prep-1" in made.batch_jobs, "the Job stays, for its log"
    assert made.status["preparation"]["report"]["rows"] == 1
    assert made.attempts[0]["startTime"] >= made.status["preparation"]["endTime"]


@pytest.mark.parametrize(
    ("accelerator", "mode", "prepared"),
    [
        ("cpu", "auto", False),
        ("cpu", "always", True),
        ("cpu", "never", False),
        ("cuda", "auto", True),
        ("cuda", "never", False),
    ],
)
def test_what_is_prepared(accelerator: str, mode: str, prepared: bool) -> None:
    made = world(accelerator=accelerator, prepare={"mode": mode})
    made.settle()
    assert made.created == list(PREPARED if prepared else PREPARED[1:])
    assert ("preparation" in made.status) == prepared


@pytest.mark.parametrize("event", EVENTS)
def test_a_run_is_trained_whatever_happens_once_to_its_preparation(event: Callable[[World], None]) -> None:
    made = preparing()
    event(made)
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    again = event is not nothing
    assert made.created == ["tiny-ftj-prep-1", *["tiny-ftj-prep-2"] * again, "tiny-ftj-1"]
    expected = {"nothing": (0, 0), "crash": (1, 0)}.get(event.__name__, (0, 1))
    assert (made.status["failures"], made.status["disruptions"]) == expected
    assert "tiny-ftj-prep-1" in made.batch_jobs or again


@pytest.mark.parametrize("event", EVENTS)
def test_a_kill_before_any_write_changes_nothing_in_the_end(event: Callable[[World], None]) -> None:
    reference = world()
    _run(reference, event)
    for kill in range(len(reference.writes)):
        made = world()
        made.writes_left = kill
        _run(made, event)
        assert made.ready() == ("True", "Succeeded"), f"killed before write {kill}"
        assert made.created == reference.created, f"killed before write {kill}"


def _run(made: World, event: Callable[[World], None]) -> None:
    for _ in range(6):
        made.pass_once()
        made.advance(1)
    event(made)
    made.settle()


@pytest.mark.parametrize(("code", "reason"), [(10, "InvalidSpec"), (11, "DataError"), (12, "ModelNotFound")])
def test_what_the_checks_refuse_never_becomes_a_pytorchjob(code: int, reason: str) -> None:
    made = preparing()
    made.terminate(pod(made), code, reason=reason, message="data/train.jsonl, line 7: no object. Mend the row.")
    for _ in range(20):
        made.pass_once()
        made.advance(5)
    assert made.ready() == ("False", reason)
    assert made.created == ["tiny-ftj-prep-1"]
    assert made.status["preparation"]["exitCode"] == code
    assert {c["type"] for c in made.status["conditions"]} == {"Ready", "Stalled", "Failed"}
    assert "line 7: no object. Mend the row." in made.status["conditions"][0]["message"]


def test_an_operator_that_starts_again_does_not_prepare_again() -> None:
    made = preparing()
    made.succeed()
    made.terminations.clear()
    made.advance(1)
    made.pass_once()
    made.delete_batch_job("tiny-ftj-prep-1")
    made.advance(1)
    made.settle()
    assert made.created == list(PREPARED)


def test_a_later_attempt_is_not_prepared_again() -> None:
    made = preparing()
    made.succeed()
    for _ in range(4):
        made.pass_once()
        made.advance(1)
    for each in made.live_pods():
        made.terminate(each["metadata"]["uid"], 139)
    made.settle()
    assert made.created == [*PREPARED, "tiny-ftj-2"]


def test_a_new_run_stops_the_preparation_and_is_prepared_itself() -> None:
    made = preparing()
    metadata = {**made.job["metadata"], "generation": 2}
    made.job = {**made.job, "metadata": metadata, "spec": {**made.job["spec"], "runId": "2"}}
    made.settle()
    assert made.created == ["tiny-ftj-prep-1", "tiny-ftj-prep-2", "tiny-ftj-1"]
    assert "tiny-ftj-prep-1" not in made.batch_jobs
    assert made.status["preparation"]["runId"] == "2"
    assert (made.status["failures"], made.status["disruptions"]) == (0, 0)


def test_a_new_run_after_refused_data_is_prepared_under_the_next_number() -> None:
    made = preparing()
    made.terminate(pod(made), 11, reason="DataError", message="A row is broken.")
    made.pass_once()
    metadata = {**made.job["metadata"], "generation": 2}
    made.job = {**made.job, "metadata": metadata, "spec": {**made.job["spec"], "runId": "mended"}}
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert made.created == ["tiny-ftj-prep-1", "tiny-ftj-prep-2", "tiny-ftj-1"]


def test_preparations_that_crash_come_at_growing_distances_and_end_the_job() -> None:
    made = preparing(runPolicy={"backoffLimit": 2})
    starts = []
    for _ in range(300):
        for each in made.live_pods():
            made.terminate(each["metadata"]["uid"], 139)
        made.pass_once()
        starts.append(made.status["preparation"]["startTime"])
        made.advance(1)
    assert made.ready() == ("False", "BackoffLimitExceeded")
    begun = [scenario.moment(text) for text in dict.fromkeys(starts)]
    assert len(begun) == 3
    waits = [(later - earlier).total_seconds() for earlier, later in pairwise(begun)]
    assert waits[1] > 1.5 * waits[0] > 10


def test_while_nothing_moves_nothing_is_written() -> None:
    made = preparing()
    made.pass_once()
    before = len(made.writes)
    for _ in range(20):
        made.pass_once()
        made.now = made.now.replace(microsecond=1)
    assert len(made.writes) == before


def _disturb(made: World, chance: random.Random) -> None:
    live = [p["metadata"]["uid"] for p in made.live_pods()]
    if live and chance.random() < 0.3:
        uid = chance.choice(live)
        actions: list[Callable[[], None]] = [
            lambda: made.terminate(uid, chance.choice([134, 137, 139, 143, 200, 203])),
            lambda: made.delete_pod(uid),
            lambda: made.delete_pod(uid, force=True),
            made.batch_jobs.clear,
            made.terminations.clear,
            made.succeed,
        ]
        chance.choice(actions)()
    if chance.random() < 0.2:
        made.writes_left = chance.randrange(3)


@pytest.mark.parametrize("seed", range(30))
def test_any_order_of_troubles_ends_well(seed: int) -> None:
    chance = random.Random(seed)
    made = world(runPolicy={"backoffLimit": 100, "maxDisruptions": 1000})
    for _ in range(chance.randrange(5, 40)):
        _disturb(made, chance)
        made.pass_once()
        made.advance(chance.choice([0.5, 2, 10, 40]))
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert made.most_live <= 1
    trained = [name for name in made.created if "prep" not in name]
    assert made.created[-len(trained) :] == trained, "a run was prepared after it had been trained"
    assert made.status["preparation"]["result"] == "Succeeded"


def test_a_superseded_preparation_is_stopped_whenever_the_operator_is_killed() -> None:
    for kill in range(4):
        made = preparing()
        edit(made, runId="2")
        made.writes_left = kill
        made.settle()
        assert "tiny-ftj-prep-1" not in made.batch_jobs, f"killed before write {kill}"


def test_a_lost_run_ends_its_preparation() -> None:
    made = preparing()
    made.run_configs.clear()
    made.claims.pop("corpus")
    for _ in range(5):
        made.pass_once()
        made.advance(5)
    assert made.ready() == ("False", "RunConfigLost")
    assert made.status["preparation"]["endTime"]
    assert not made.batch_jobs
