"""Preparation on a real cluster: data is read before any PyTorchJob exists, and what is refused never makes one."""

import json
from collections.abc import Callable
from typing import Any

import jobs
import pytest
from kube import Kubectl
from watching import Watched, condition

Apply = Callable[..., Watched]
Object = dict[str, Any]
PREPARE: Object = {
    "mode": "always",
    "resources": {"requests": {"cpu": "100m", "memory": "300Mi"}, "limits": {"memory": "2Gi"}},
}
_BROKEN = "".join(json.dumps({"text": f"The number {number}."}) + "\n" for number in range(5)) + '{"txt": "Oops."}\n'


def preparation(status: Object) -> Object:
    """Return what the status tells of the preparation, empty while there is none."""
    told: Object = status.get("preparation", {})
    return told


def names(space: Kubectl, kind: str) -> list[str]:
    return sorted(each["metadata"]["name"] for each in space.list(kind))


def test_a_job_is_prepared_once_and_its_report_is_told(apply: Apply, space: Kubectl) -> None:
    job = apply(jobs.pretrain("careful", prepare=PREPARE))
    status = job.wait_until(lambda status: status.get("state") == "Preparing", "Preparing", 30)
    assert names(space, "pytorchjobs") == []
    status = job.wait_until(lambda status: preparation(status).get("endTime"), "prepared", 120)
    told = preparation(status)
    assert told["result"] == "Succeeded", told
    assert told["report"]["rows"] == 200
    assert told["report"]["datasets"] == [{"field": "spec.datasets[0]", "format": "text", "rows": 200}]
    assert told["report"]["parameters"] == told["report"]["trainableParameters"] > 0
    status = job.wait_complete()
    assert names(space, "jobs.batch") == ["careful-ftj-prep-1"]
    assert preparation(status) == told
    assert status["attempts"][0]["startTime"] >= told["endTime"]
    described = space("describe", "finetunejob", "careful")
    assert "Token Lengths:" in described
    assert "Truncated Share:" in described


def refused(apply: Apply, space: Kubectl, manifest: Object, reason: str, *told: str) -> None:
    """Assert that a job Failed in its preparation, in words that help, and that no PyTorchJob was made."""
    broken = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "broken"}, "data": {"rows.jsonl": _BROKEN}}
    job = apply(broken, manifest)
    status = job.wait_failed(limit=120)
    for kind in ("Failed", "Stalled"):
        assert condition(status, kind)["reason"] == reason
    for part in told:
        assert part in condition(status, "Ready")["message"]
    assert preparation(status)["result"] == "Failed"
    assert "attempts" not in status or status["attempts"] == []
    assert names(space, "pytorchjobs") == []


@pytest.mark.parametrize(
    ("name", "spec", "reason", "told"),
    [
        (
            "broken-row",
            {"datasets": [jobs.dataset("broken", "rows.jsonl", format="text")]},
            "DataError",
            ("Key rows.jsonl of ConfigMap broken", "line 6", "'text' is missing", "correct or remove the row"),
        ),
        (
            "one-row-to-split",
            {"datasets": [jobs.dataset(jobs.TEXTS, maxSamples=1)], "evaluation": {"splitRatio": 0.5}},
            "DataError",
            ("spec.evaluation.splitRatio", "add rows"),
        ),
    ],
)
def test_what_the_checks_refuse_never_makes_a_pytorchjob(
    name: str, spec: Object, reason: str, *, told: tuple[str, ...], apply: Apply, space: Kubectl
) -> None:
    refused(apply, space, jobs.pretrain(name, prepare=PREPARE, **spec), reason, *told)


def test_a_preparation_that_somebody_deletes_is_made_again(apply: Apply, space: Kubectl) -> None:
    job = apply(jobs.pretrain("stubborn", prepare=PREPARE))
    job.wait_until(lambda status: preparation(status).get("podUid"), "the preparation's pod", 60)
    space("delete", "job.batch", "stubborn-ftj-prep-1")
    status = job.wait_complete()
    assert preparation(status)["number"] == 2
    assert preparation(status)["result"] == "Succeeded"
    assert status["disruptions"] == 1
    assert names(space, "jobs.batch") == ["stubborn-ftj-prep-2"]
