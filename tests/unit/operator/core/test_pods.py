"""How a pod ended, read from what the API server tells of it."""

from typing import Any

import scenario

from tunesmith_operator.inputs import JobKey
from tunesmith_operator.status.pods import UNKNOWN_EXIT_CODE, read, termination_of

KEY = JobKey("FineTuneJob", "team", "tiny")


def described(**fields: Any) -> dict[str, Any]:
    return scenario.pod(KEY, {"uid": "pod-0", **fields})


def test_a_pod_that_runs_has_not_ended() -> None:
    assert termination_of(described(started="2026-01-31T12:00:10Z")) is None


def test_a_pod_deleted_while_it_runs_has_not_ended() -> None:
    assert termination_of(described(started="2026-01-31T12:00:10Z", deleted="2026-01-31T12:05:00Z")) is None


def test_a_deleted_pod_that_ended_was_disrupted_when_its_deletion_was_asked_for() -> None:
    ended = termination_of(
        described(terminated={"exitCode": 143, "finishedAt": "2026-01-31T12:04:10Z"}, deleted="2026-01-31T12:05:00Z")
    )
    assert ended is not None
    assert (ended.exit_code, ended.disrupted) == (143, True)
    assert ended.deletion_requested == scenario.moment("2026-01-31T12:04:00Z")
    assert ended.finished == scenario.moment("2026-01-31T12:04:10Z")


def test_a_pod_that_failed_before_its_container_ran_has_no_exit_code() -> None:
    ended = termination_of(described(phase="Failed", reason="Evicted", message="The node was low on memory."))
    assert ended is not None
    assert (ended.exit_code, ended.reason, ended.disrupted) == (UNKNOWN_EXIT_CODE, "Evicted", True)


def test_what_was_kept_counts_when_the_pod_tells_nothing() -> None:
    kept = termination_of(described(terminated={"exitCode": 139}))
    assert kept is not None
    assert read(described(), {"pod-0": kept}).termination == kept


def test_a_bare_pod_can_be_read() -> None:
    pod = read({"metadata": {"uid": "x"}}, {})
    assert (pod.index, pod.phase, pod.terminal) == (0, "Pending", False)
