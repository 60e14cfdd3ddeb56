from typing import Any

import pytest
from typing_extensions import override

from tunesmith_operator.handlers.children import on_child, on_pod
from tunesmith_operator.handlers.jobs import on_job
from tunesmith_operator.handlers.lease import on_lease
from tunesmith_operator.handlers.listener import Hints, Listener
from tunesmith_operator.inputs import JobKey, Termination
from tunesmith_operator.liveness import Canary
from tunesmith_operator.queue import WorkQueue
from tunesmith_operator.store import Echoes, JobStore, Terminations, version_of
from tunesmith_operator.triggers import CHILD, JOB, RESYNC, select

KEY = JobKey("FineTuneJob", "default", "a")
LABELS = {"tunesmith.dev/job-kind": "FineTuneJob", "tunesmith.dev/job-name": "a"}


class Recorder(WorkQueue[JobKey]):
    """A queue that remembers what was put into it."""

    def __init__(self) -> None:
        async def work(_key: JobKey, _triggers: frozenset[str]) -> None:
            return None

        super().__init__(work, workers=1)
        self.added: list[tuple[JobKey, str, bool]] = []

    @override
    def add(self, key: JobKey, trigger: str, *, background: bool = False) -> None:
        self.added.append((key, trigger.partition(" ")[0], background))


@pytest.fixture
async def queue() -> Recorder:
    """An empty queue."""
    return Recorder()


@pytest.fixture
async def listener(queue: Recorder) -> Listener:
    """A listener for all namespaces."""
    return Listener(queue, JobStore(), Terminations(), Canary(75), ("default", "operator"))


def job(version: int = 1, name: str = "a", **fields: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
    }
    return {"metadata": metadata, "spec": {}, **fields}


def pod(code: int | None = None, **metadata: Any) -> dict[str, Any]:
    state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "message": "bye"}}
    return {
        "metadata": {
            "name": "p",
            "namespace": "default",
            "uid": "uid-p",
            "resourceVersion": "7",
            "labels": LABELS,
            **metadata,
        },
        "status": {"containerStatuses": [{"name": "pytorch", "state": state}]},
    }


def test_a_job_is_enqueued_once_per_version(listener: Listener, queue: Recorder) -> None:
    for event, version in (("ADDED", 1), ("MODIFIED", 1), (None, 1), ("MODIFIED", 2), ("DELETED", 3)):
        on_job(listener, "FineTuneJob", event, job(version))
    assert queue.added == [(KEY, "job", False)] * 3
    assert listener.jobs.get(KEY) is None


def test_a_new_job_is_at_hand_for_its_first_pass(listener: Listener) -> None:
    on_job(listener, "FineTuneJob", "ADDED", job())
    assert listener.hints.take(KEY) is not None
    assert listener.hints.take(KEY) is None
    on_job(listener, "FineTuneJob", "ADDED", job(2, status={"state": "Running"}))
    assert listener.hints.take(KEY) is None


@pytest.mark.parametrize("event", ["MODIFIED", "DELETED"])
def test_a_job_that_changed_before_its_first_pass_is_read_again(listener: Listener, event: str) -> None:
    on_job(listener, "FineTuneJob", "ADDED", job())
    on_job(listener, "FineTuneJob", event, job(2))
    assert listener.hints.take(KEY) is None


def test_the_deletion_of_a_former_job_of_this_name_does_not_hide_the_new_one(listener: Listener) -> None:
    on_job(listener, "FineTuneJob", "ADDED", job())
    former = job(2)
    former["metadata"]["uid"] = "former"
    on_job(listener, "FineTuneJob", "DELETED", former)
    assert listener.jobs.get(KEY) is not None


def test_an_older_version_of_a_job_changes_nothing(listener: Listener) -> None:
    on_job(listener, "FineTuneJob", "MODIFIED", job(10, status={"state": "Running"}))
    assert not listener.jobs.observe(KEY, job(9, status={"state": "Complete"}))
    assert listener.jobs.count() == {("FineTuneJob", "Running"): 1}


def test_of_too_many_new_jobs_those_are_at_hand_whose_turn_is_next() -> None:
    hints = Hints(limit=2)
    keys = [JobKey("FineTuneJob", "default", name) for name in "abc"]
    for key in keys:
        hints.put(key, job(name=key.name))
    assert [hints.take(key) is not None for key in keys] == [True, True, False]


def test_what_was_there_before_is_background_and_what_is_over_is_left(listener: Listener, queue: Recorder) -> None:
    over = {"completionTime": "2026-01-31T12:00:00Z", "observedGeneration": 1, "state": "Complete"}
    on_job(listener, "FineTuneJob", None, job())
    on_job(listener, "FineTuneJob", None, job(name="over", status=over))
    assert queue.added == [(KEY, "job", True)]
    assert listener.jobs.count() == {("FineTuneJob", "Pending"): 1, ("FineTuneJob", "Complete"): 1}


def test_jobs_that_wait_for_a_job_hear_of_it(listener: Listener, queue: Recorder) -> None:
    waiting = job(name="b", spec={"model": {"fromJob": {"name": "a"}}})
    on_job(listener, "AlignmentJob", "ADDED", waiting)
    queue.added.clear()
    other = JobKey("AlignmentJob", "default", "b")
    on_job(listener, "FineTuneJob", "ADDED", job())
    on_job(listener, "FineTuneJob", "MODIFIED", job(2))
    on_job(listener, "FineTuneJob", "MODIFIED", job(3, status={"state": "Complete"}))
    on_job(listener, "FineTuneJob", "DELETED", job(4))
    assert [trigger for key, trigger, _ in queue.added if key == other] == ["dependency"] * 3
    on_job(listener, "AlignmentJob", "DELETED", waiting)
    assert listener.jobs.dependents(KEY) == frozenset()


def test_a_job_hears_of_all_jobs_that_it_waits_for(listener: Listener, queue: Recorder) -> None:
    waiting = job(name="b", spec={"model": {"fromJob": {"name": "a"}}, "referenceModel": {"fromJob": {"name": "c"}}})
    other, reference = JobKey("AlignmentJob", "default", "b"), JobKey("FineTuneJob", "default", "c")
    on_job(listener, "AlignmentJob", "ADDED", waiting)
    queue.added.clear()
    on_job(listener, "FineTuneJob", "ADDED", job())
    on_job(listener, "FineTuneJob", "ADDED", job(name="c"))
    assert [trigger for key, trigger, _ in queue.added if key == other] == ["dependency"] * 2
    on_job(listener, "AlignmentJob", "MODIFIED", job(2, name="b", spec={"model": {"fromJob": {"name": "a"}}}))
    assert listener.jobs.dependents(KEY) == {other}
    assert listener.jobs.dependents(reference) == frozenset()


def test_other_namespaces_are_not_looked_after(queue: Recorder) -> None:
    listener = Listener(queue, JobStore(), Terminations(), Canary(75), ("default", "operator"), namespaces=("mine",))
    on_job(listener, "FineTuneJob", "ADDED", job())
    on_child(listener, "ADDED", {"metadata": {"namespace": "default", "labels": LABELS}})
    on_pod(listener, "ADDED", pod(1))
    assert queue.added == []
    assert len(listener.terminations) == 0


@pytest.mark.parametrize("event", ["MODIFIED", "DELETED"])
def test_how_a_pod_ended_is_kept_also_when_it_is_deleted(listener: Listener, queue: Recorder, event: str) -> None:
    on_pod(listener, "ADDED", pod())
    assert len(listener.terminations) == 0
    on_pod(listener, event, pod(203))
    kept = listener.terminations.of(KEY)["uid-p"]
    assert (kept.exit_code, kept.message) == (203, "bye")
    assert queue.added[-1] == (KEY, "child", False)


def test_a_pod_that_goes_on_after_its_job_is_looked_at_and_one_that_has_ended_is_not(
    listener: Listener, queue: Recorder
) -> None:
    over = {"completionTime": "2026-01-31T12:00:00Z", "observedGeneration": 1, "state": "Failed"}
    on_job(listener, "FineTuneJob", None, job(status=over))
    on_pod(listener, None, pod(0))
    assert queue.added == []
    on_pod(listener, None, pod())
    assert queue.added == [(KEY, "child", True)]


@pytest.mark.parametrize(
    "labels", [None, {}, {"tunesmith.dev/job-name": "a"}, {**LABELS, "tunesmith.dev/job-kind": "Job"}]
)
def test_pods_of_nobody_are_left(listener: Listener, queue: Recorder, labels: Any) -> None:
    on_pod(listener, "MODIFIED", pod(1, labels=labels))
    assert queue.added == []


def test_only_the_own_lease_is_the_canary(listener: Listener) -> None:
    listener.canary.written("5")
    on_lease(listener, {"metadata": {"namespace": "default", "name": "another", "resourceVersion": "5"}})
    assert listener.canary._unheard_since is not None
    on_lease(listener, {"metadata": {"namespace": "default", "name": "operator", "resourceVersion": "5"}})
    assert listener.canary._unheard_since is None


def test_own_writes_ask_for_nothing() -> None:
    echoes = Echoes(limit=2)
    written = job(5)
    echoes.wrote(written)
    own = JOB + version_of(written)
    assert select(frozenset({own}), echoes) == frozenset()
    assert select(frozenset({own, RESYNC, CHILD + "x/1"}), echoes) == {RESYNC, CHILD + "x/1"}
    echoes.wrote(job(6))
    echoes.wrote(job(7))
    assert select(frozenset({own}), echoes) == {own}


def test_terminations_are_bounded_and_forgotten() -> None:
    now = [0.0]
    kept = Terminations(limit=10, seconds=100, clock=lambda: now[0])
    for number in range(30):
        kept.keep(JobKey("FineTuneJob", "default", f"j{number}"), f"uid-{number}", Termination(1, "", ""))
    assert len(kept) == 10
    kept.forget(JobKey("FineTuneJob", "default", "j29"))
    assert len(kept) == 9
    now[0] = 200.0
    kept.keep(KEY, "uid", Termination(1, "", ""))
    assert len(kept) == 1
    kept.keep(KEY, "uid", Termination(2, "", "more complete"))
    assert len(kept) == 1
    assert kept.of(KEY)["uid"].exit_code == 2
