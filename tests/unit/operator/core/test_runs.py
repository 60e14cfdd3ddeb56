"""Whole runs in the simulated world: whatever happens on the way, the job ends the same."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import scenario
from world import World

Object = dict[str, Any]


def world(**spec: Any) -> World:
    job = {
        "kind": "FineTuneJob",
        "metadata": {"name": "tiny"},
        "spec": {
            "method": "pretrain",
            "accelerator": "cpu",
            "model": {
                "architecture": {
                    "hiddenSize": 64, "intermediateSize": 128, "numHiddenLayers": 2, "numAttentionHeads": 4,
                }
            },
            "datasets": [{"claim": {"name": "corpus", "path": "train.txt"}}],
            **spec,
        },
    }  # fmt: skip
    return World(scenario.whole_job(job), claims={"corpus": {"status": {"phase": "Bound"}}})


def begun(**spec: Any) -> World:
    """Return a world in which the first attempt's pods run and are recorded."""
    made = world(**spec)
    for _ in range(3):
        made.pass_once()
        made.advance(1)
    assert made.live_pods()
    assert made.attempts[0]["pods"]
    return made


def edit(made: World, **spec: Any) -> None:
    """Change the spec."""
    metadata = {**made.job["metadata"], "generation": made.job["metadata"]["generation"] + 1}
    made.job = {**made.job, "metadata": metadata, "spec": {**made.job["spec"], **spec}}


def uids(made: World) -> list[str]:
    return [pod["metadata"]["uid"] for pod in made.live_pods()]


def crash(made: World) -> None:
    made.terminate(uids(made)[0], 139)


def delete_pod(made: World) -> None:
    made.delete_pod(uids(made)[0])


def delete_pod_by_force(made: World) -> None:
    made.delete_pod(uids(made)[0], force=True)


def delete_child(made: World) -> None:
    made.delete_child("tiny-ftj-1")


def nothing(made: World) -> None:
    del made


EVENTS = [nothing, crash, delete_pod, delete_pod_by_force, delete_child]


def test_a_run_without_trouble_takes_four_creations_and_few_status_writes() -> None:
    made = world()
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert [write for write in made.writes if write.startswith("create")] == [
        "create PersistentVolumeClaim tiny-ftj",
        "create ConfigMap tiny-ftj-run-1",
        "create PyTorchJob tiny-ftj-1",
    ]
    assert "tiny-ftj-1" in made.children, "the last PyTorchJob stays, for its logs"


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("event", EVENTS)
def test_a_run_ends_well_whatever_happens_once(event: Callable[[World], None], nodes: int) -> None:
    made = begun(numNodes=nodes)
    event(made)
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert made.most_live == 1, "two attempts ran at the same time"
    assert made.created == [f"tiny-ftj-{n + 1}" for n in range(len(made.created))]
    expected = {"nothing": (0, 0), "crash": (1, 0)}.get(event.__name__, (0, 1))
    assert (made.status["failures"], made.status["disruptions"]) == expected
    assert [attempt["result"] for attempt in made.attempts][-1] == "Succeeded"


@pytest.mark.parametrize("event", EVENTS)
def test_a_kill_before_any_write_changes_nothing_in_the_end(event: Callable[[World], None]) -> None:
    reference = world()
    _run(reference, event)
    for kill in range(len(reference.writes)):
        made = world()
        made.writes_left = kill
        _run(made, event)
        assert made.ready() == ("True", "Succeeded"), f"killed before write {kill}"
        assert made.most_live == 1, f"killed before write {kill}"
        assert made.created == reference.created, f"killed before write {kill}"
        results = [attempt["result"] for attempt in made.attempts]
        assert results == [attempt["result"] for attempt in reference.attempts], f"killed before write {kill}"


def _run(made: World, event: Callable[[World], None]) -> None:
    for _ in range(6):
        made.pass_once()
        made.advance(1)
    event(made)
    made.settle()


def test_after_the_end_nothing_is_written_any_more() -> None:
    made = world()
    made.settle()
    before = len(made.writes)
    for _ in range(20):
        assert made.pass_once().actions == ()
        made.advance(30)
    assert len(made.writes) == before


def test_while_nothing_moves_nothing_is_written() -> None:
    made = begun()
    made.pass_once()
    before = len(made.writes)
    for _ in range(20):
        made.pass_once()
        made.now = made.now.replace(microsecond=1)
    assert len(made.writes) == before


def test_crashes_end_a_job_beyond_the_backoff_limit() -> None:
    made = world(runPolicy={"backoffLimit": 2})
    for _ in range(200):
        made.pass_once()
        if made.status.get("completionTime"):
            break
        made.advance(5)
        for uid in uids(made):
            made.terminate(uid, 139)
    assert made.ready() == ("False", "BackoffLimitExceeded")
    assert [attempt["result"] for attempt in made.attempts] == ["Crashed"] * 3


def test_crashes_come_at_growing_distances() -> None:
    made = world(runPolicy={"backoffLimit": 4})
    for _ in range(600):
        made.pass_once()
        made.advance(1)
        for uid in uids(made):
            made.terminate(uid, 139)
    starts = [scenario.moment(attempt["startTime"]) for attempt in made.attempts]
    ends = [scenario.moment(attempt["endTime"]) for attempt in made.attempts]
    assert [(begin - end).total_seconds() for begin, end in zip(starts[1:], ends, strict=False)] == [10, 20, 40, 80]


def test_disruptions_end_a_job_beyond_their_limit() -> None:
    made = world(runPolicy={"maxDisruptions": 3})
    for _ in range(400):
        made.pass_once()
        if made.status.get("completionTime"):
            break
        made.advance(5)
        made.pass_once()
        for uid in uids(made):
            made.delete_pod(uid, force=True)
    assert made.ready() == ("False", "TooManyDisruptions")
    assert made.status["disruptions"] == 4


@pytest.mark.parametrize("writes", [None, 3], ids=["told", "first status lost"])
def test_a_permanent_error_is_never_tried_again(writes: int | None) -> None:
    made = world()
    made.writes_left = writes
    made.pass_once()
    made.advance(1)
    assert bool(made.status) is (writes is None)
    made.terminate(uids(made)[0], 11, reason="DataError", message="data/train.jsonl, row 7: no object. Mend the row.")
    for _ in range(20):
        made.pass_once()
        made.advance(5)
    assert made.ready() == ("False", "DataError")
    assert made.created == ["tiny-ftj-1"]
    ready = made.status["conditions"][0]
    assert "data/train.jsonl, row 7: no object. Mend the row." in ready["message"]


def test_without_a_training_operator_the_job_says_so_and_goes_on_once_it_is_back() -> None:
    made = world()
    made.training_operator = False
    for _ in range(10):
        made.pass_once()
        made.advance(5)
    made.pass_once()
    assert made.ready() == ("Unknown", "TrainingOperatorSilent")
    made.training_operator = True
    made.settle()
    assert made.ready() == ("True", "Succeeded")


def test_a_pod_deleted_while_the_training_operator_is_down_is_followed_by_one_attempt() -> None:
    made = begun()
    made.training_operator = False
    made.delete_pod(uids(made)[0], force=True)
    for _ in range(10):
        made.pass_once()
        made.advance(5)
    made.training_operator = True
    made.settle()
    assert made.created == ["tiny-ftj-1", "tiny-ftj-2"]
    assert made.most_live == 1


def test_a_new_run_stops_the_old_one_first_and_counts_attempts_on() -> None:
    made = begun()
    edit(made, runId="2", training={"maxSteps": 5})
    made.settle()
    assert made.most_live == 1
    assert [(attempt["number"], attempt["runId"]) for attempt in made.attempts] == [(1, "1"), (2, "2")]
    assert made.attempts[0]["reason"] == "Superseded"
    assert (made.status["failures"], made.status["disruptions"]) == (0, 0)
    assert made.status["output"]["path"].endswith("-2/output")


def test_a_crash_stays_one_although_the_pod_is_deleted_before_anybody_looked() -> None:
    made = begun()
    uid = uids(made)[0]
    made.terminate(uid, 139)
    made.now += timedelta(seconds=30)
    made.delete_pod(uid)
    made.terminations.clear()
    made.pass_once()
    assert made.attempts[0]["result"] == "Crashed"


def test_a_deleted_run_config_comes_back_the_same() -> None:
    made = begun()
    before = made.run_configs.pop("tiny-ftj-run-1")["data"]
    made.settle()
    assert made.run_configs["tiny-ftj-run-1"]["data"] == before
    assert made.created == ["tiny-ftj-1"]
    assert made.ready() == ("True", "Succeeded")


def test_a_corrected_spec_starts_a_job_that_was_refused() -> None:
    made = world(accelerator="gaudi")
    made.pass_once()
    assert made.ready() == ("False", "UnknownAccelerator")
    assert "startTime" not in made.status
    edit(made, accelerator="cpu")
    made.settle()
    assert made.ready() == ("True", "Succeeded")


def disturb(made: World, chance: random.Random) -> None:
    """Do one of the things that go wrong, or nothing."""
    live = uids(made)
    if live and chance.random() < 0.3:
        uid = chance.choice(live)
        actions: list[Callable[[], None]] = [
            lambda: made.terminate(uid, chance.choice([134, 137, 139, 143, 200, 201, 203])),
            lambda: made.delete_pod(uid),
            lambda: made.delete_pod(uid, force=True),
            made.children.clear,
            made.terminations.clear,
        ]
        chance.choice(actions)()
    if chance.random() < 0.2:
        made.writes_left = chance.randrange(3)
    if chance.random() < 0.1:
        made.training_operator = not made.training_operator


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_troubles_ends_well_and_never_runs_two_attempts(seed: int) -> None:
    chance = random.Random(seed)
    made = world(numNodes=chance.choice([1, 2, 3]), runPolicy={"backoffLimit": 100, "maxDisruptions": 1000})
    for _ in range(chance.randrange(5, 60)):
        disturb(made, chance)
        made.pass_once()
        made.advance(chance.choice([0.5, 2, 10, 40]))
    made.training_operator = True
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert made.most_live <= 1, "two attempts ran at the same time"
    assert [attempt["number"] for attempt in made.attempts] == list(range(1, len(made.attempts) + 1))
    ended = [attempt for attempt in made.attempts if attempt.get("endTime")]
    assert len(ended) == len(made.attempts)
    status = made.status
    counted = [sum(attempt["result"] == result for attempt in ended) for result in ("Crashed", "Disrupted")]
    assert [status["failures"], status["disruptions"]] == counted
