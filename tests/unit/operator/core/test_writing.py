"""When a status is written: at once when it says something new, else not more often than every 15 seconds."""

from datetime import timedelta
from typing import Any

import pytest
import scenario

from tunesmith_operator.status.writing import worth_writing

NOW = scenario.moment("2026-01-31T12:10:00Z")
OLD: dict[str, Any] = {
    "state": "Running",
    "conditions": [{"type": "Ready", "status": "Unknown", "reason": "Training", "message": "step 1"}],
    "progress": {"currentStep": 1, "lastUpdatedTime": "a", "estimatedRemainingSeconds": 9},
    "attempts": [{"number": 1, "lastStep": 1}],
    "timings": {"training": 1.0},
}


def condition(**fields: str) -> dict[str, Any]:
    return {"conditions": [{**OLD["conditions"][0], **fields}]}


def test_the_same_status_is_never_written() -> None:
    assert not worth_writing(OLD, dict(OLD), None, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"progress": {"currentStep": 2}},
        {"checkpoints": [{"step": 2}]},
        {"attempts": [{"number": 1, "lastStep": 2}]},
        condition(message="step 2"),
    ],
)
def test_progress_alone_waits(change: dict[str, Any]) -> None:
    new = {**OLD, **change}
    assert not worth_writing(OLD, new, NOW - timedelta(seconds=14), NOW)
    assert worth_writing(OLD, new, NOW - timedelta(seconds=15), NOW)
    assert worth_writing(OLD, new, None, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "Failed"},
        {"attempts": [{"number": 1, "lastStep": 1, "endTime": "x"}]},
        condition(reason="Restarting"),
        condition(status="True"),
        {"progress": None},
    ],
)
def test_anything_else_is_written_at_once(change: dict[str, Any]) -> None:
    new = {name: value for name, value in {**OLD, **change}.items() if value is not None}
    assert worth_writing(OLD, new, NOW, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"timings": {"training": 2.0}},
        {"progress": {"currentStep": 1, "lastUpdatedTime": "b", "estimatedRemainingSeconds": 8}},
        condition(message="step 1, about 3 min left"),
    ],
)
def test_what_only_the_clock_moves_is_never_written(change: dict[str, Any]) -> None:
    assert not worth_writing(OLD, {**OLD, **change}, None, NOW)


def test_the_first_status_is_written_at_once() -> None:
    assert worth_writing(None, OLD, NOW, NOW)
