"""The status as a whole: what is read back, bounded and kept."""

from typing import Any

import pytest
import scenario

from tunesmith_api.meta import State
from tunesmith_api.v1alpha1.status import MAX_ATTEMPTS, Attempt, JobStatus, PodIdentity, VolumePath
from tunesmith_operator.status import attempts, conditions, output, short, stored
from tunesmith_operator.status.conditions import Stamp
from tunesmith_operator.steps.backoff import seconds

NOW = scenario.moment("2026-01-31T12:00:00Z")
LATER = scenario.moment("2026-01-31T12:01:00Z")


def attempt(number: int, **fields: Any) -> Attempt:
    return Attempt(number=number, run_id="1", child=f"c-{number}", start_time="2026-01-31T12:00:00Z", **fields)


def waiting(status: JobStatus, *, at: Any, reason: str = "Unschedulable") -> JobStatus:
    return conditions.under_way(status, Stamp(at, 2, "1"), State.WAITING, reason=reason, message="m")


def test_a_condition_changes_its_time_only_with_its_status() -> None:
    first = waiting(JobStatus(), at=NOW)
    again = waiting(first, at=LATER, reason="ImagePull")
    assert [c.last_transition_time for c in again.conditions] == ["2026-01-31T12:00:00Z"] * 2
    failed = conditions.failed(again, Stamp(LATER, 2, "1"), reason="DataError", message="m")
    assert {c.type: (c.status, c.last_transition_time) for c in failed.conditions} == {
        "Ready": ("False", "2026-01-31T12:01:00Z"),
        "Stalled": ("True", "2026-01-31T12:01:00Z"),
        "Failed": ("True", "2026-01-31T12:01:00Z"),
    }


def test_a_message_of_any_length_fits() -> None:
    failed = conditions.failed(JobStatus(), Stamp(NOW, 1, "1"), reason="DataError", message="x" * 100_000)
    assert len(failed.conditions[0].message) == 4096


def test_the_newest_attempts_are_kept() -> None:
    status = JobStatus()
    for number in range(1, MAX_ATTEMPTS + 11):
        status = attempts.append(status, attempt(number))
    assert len(status.attempts) == MAX_ATTEMPTS
    assert status.attempts[-1].number == MAX_ATTEMPTS + 10


def test_the_pods_of_large_past_attempts_are_forgotten() -> None:
    many = tuple(PodIdentity(index=index, uid=str(index)) for index in range(9))
    status = attempts.append(attempts.append(JobStatus(), attempt(1, pods=many)), attempt(2, pods=many))
    assert [len(record.pods) for record in status.attempts] == [0, 9]


def test_a_stored_status_is_read_back() -> None:
    status = waiting(attempts.append(JobStatus(), attempt(1)), at=NOW)
    assert stored.read(status.to_wire()) == status


def test_of_a_stored_status_what_can_be_read_is_kept() -> None:
    raw = {**attempts.append(JobStatus(), attempt(1)).to_wire(), "progress": {"colour": "blue"}, "newField": 1}
    assert stored.read(raw) == attempts.append(JobStatus(), attempt(1))


@pytest.mark.parametrize("junk", [None, "x", [], {"attempts": 3, "failures": -1}])
def test_a_stored_status_that_is_junk_is_empty(junk: Any) -> None:
    assert stored.read(junk) == JobStatus()


@pytest.mark.parametrize(("failures", "delay"), [(1, 10), (2, 20), (5, 160), (6, 300), (100, 300)])
def test_crashes_double_the_wait(failures: int, delay: float) -> None:
    status = attempts.append(JobStatus(failures=failures), attempt(1, result="Crashed"))
    assert seconds(status, "1") == delay


@pytest.mark.parametrize(("in_a_row", "delay"), [(1, 0), (2, 0), (3, 5), (4, 10), (10, 60)])
def test_only_disruptions_in_a_row_wait(in_a_row: int, delay: float) -> None:
    status = attempts.append(JobStatus(), attempt(1, result="Crashed"))
    for number in range(in_a_row):
        status = attempts.append(status, attempt(number + 2, result="Disrupted"))
    assert seconds(status, "1") == delay


def test_a_former_runs_end_is_not_waited_for() -> None:
    assert seconds(attempts.append(JobStatus(failures=3), attempt(1, result="Crashed")), "2") == 0


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"name": "team/tiny"}, "team/tiny"),
        ({"name": "team/tiny", "revision": "v1"}, "team/tiny@v1"),
        ({"path": {"claim": "c", "path": "a/b"}}, "c:a/b"),
        ({"path": {"claim": "c"}}, "c:/"),
        ({"fromJob": {"name": "j"}}, "ftj/j"),
        ({"fromJob": {"kind": "AlignmentJob", "name": "j"}}, "alj/j"),
        ({"fromJob": {"kind": "Other", "name": "j"}}, "Other/j"),
        ({"resumeFrom": {"name": "j"}}, "ftj/j step newest"),
        ({"resumeFrom": {"name": "j", "step": 8}}, "ftj/j step 8"),
        ({"architecture": {"numHiddenLayers": 2, "hiddenSize": 64}}, "new llama 2x64"),
        ({}, None),
        ("junk", None),
        (None, None),
    ],
)
def test_the_model_in_short(source: Any, text: str | None) -> None:
    assert short.model({"spec": {"model": source}}) == text


def test_how_to_load_fits_the_longest_names() -> None:
    base = VolumePath(claim="b" * 253, path="/".join(["c" * 127] * 4) + "/runs/" + "d" * 53 + "/output")
    text = output._load("SEQ_CLS", f"/tunesmith/claims/{'a' * 253}/{'e' * 512}/runs/{'f' * 53}/output", base)
    assert len(text) <= 4096
    compile(text, "load", "exec")
