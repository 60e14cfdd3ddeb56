"""Pipelines: one apply, an operator that dies in the middle, a job that fails, a gate that is not met."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import pytest
from kube import Kubectl
from watching import Watched, condition, metric, until

Object = dict[str, Any]
Apply = Callable[..., Watched]
PIPELINE = Path(__file__).resolve().parents[2] / "examples" / "pipeline"


CHAIN = {
    "digits": "FineTuneJob",
    "sorter": "FineTuneJob",
    "sorter-dpo": "AlignmentJob",
    "sorter-reward": "AlignmentJob",
    "sorter-ppo": "AlignmentJob",
}


@pytest.fixture(scope="module")
def pipeline(shared_space: Kubectl, operator: Kubectl) -> dict[str, Object]:
    """The status of each job of the example, which was applied at once; the operator was killed while the first ran."""
    shared_space("apply", "--filename", str(PIPELINE))
    first, *others = [Watched(shared_space, kind, name) for name, kind in CHAIN.items()]
    first.wait_until(lambda status: status.get("state") == "Running", "steps are trained", 120)
    assert {condition(job.status(), "Ready")["reason"] for job in others} == {"WaitingForJob"}
    operator("delete", "pods", "--selector", "app.kubernetes.io/component=operator", "--grace-period=0", "--force")
    return {job.name: job.wait_complete(limit=240) for job in (first, *others)}


def test_one_apply_runs_it_to_its_ends_though_the_operator_is_killed(pipeline: dict[str, Object]) -> None:
    assert {name: len(status["attempts"]) for name, status in pipeline.items()} == dict.fromkeys(CHAIN, 1)
    base = {part: pipeline["sorter"]["output"][part] for part in ("claim", "path")}
    for name in ("sorter-dpo", "sorter-reward", "sorter-ppo"):
        output = pipeline[name]["output"]
        assert (output["kind"], output["baseModel"]) == ("adapter", base)
    for earlier, later in zip(
        ("digits", "sorter", "sorter-reward"), ("sorter", "sorter-dpo", "sorter-ppo"), strict=True
    ):
        assert pipeline[earlier]["completionTime"] <= pipeline[later]["startTime"]


def test_a_gate_that_is_not_met_stops_what_is_behind_it(
    pipeline: dict[str, Object], apply_shared: Apply, shared_space: Kubectl
) -> None:
    loss = metric(pipeline["digits"], "eval_loss")
    assert loss is not None
    gate = {"metric": "eval_loss", "max": loss / 2}
    apply_shared(jobs.sft("behind", "demanding"))
    demanding = apply_shared(jobs.sft("demanding", "digits", model={"fromJob": {"name": "digits", "gate": gate}}))
    told = condition(demanding.wait_failed(30), "Ready")
    assert told["reason"] == "GateNotMet"
    assert f"eval_loss {loss:.4g}" in told["message"]
    assert f"at most {loss / 2:g}" in told["message"]
    behind = Watched(shared_space, "FineTuneJob", "behind")
    assert condition(behind.wait_failed(30), "Failed")["reason"] == "DependencyFailed"
    assert demanding.children() == behind.children() == []
    # Nothing has started, so the spec may be corrected: what is behind goes on by itself.
    open_gate = {"spec": {"model": {"fromJob": {"gate": {"max": loss * 2}}}, "training": {"maxSteps": 2}}}
    shared_space("patch", demanding.kind, demanding.name, "--type=merge", f"--patch={json.dumps(open_gate)}")
    until(lambda: demanding.status().get("attempts"), "its first attempt", 30)
    until(lambda: condition(behind.status(), "Ready")["reason"] == "WaitingForJob", "what is behind waits again", 30)


def test_a_job_that_fails_stops_all_behind_it(apply_shared: Apply, shared_space: Kubectl) -> None:
    rows = [jobs.dataset(jobs.QUESTIONS, format="preference")]
    last = jobs.job(
        "last",
        {"method": "dpo", "model": {"fromJob": {"name": "middle"}}, "datasets": rows},
        kind="AlignmentJob",
    )
    text_rows = [jobs.dataset(jobs.TEXTS, format="prompt-completion")]  # rows of text have no prompt
    middle = jobs.sft("middle", "digits", datasets=text_rows)
    apply_shared(last)
    failed = apply_shared(middle).wait_failed(90)
    assert condition(failed, "Failed")["reason"] == "DataError"
    stopped = Watched(shared_space, "AlignmentJob", "last")
    told = condition(stopped.wait_failed(30), "Stalled")
    assert told["reason"] == "DependencyFailed"
    assert "FineTuneJob middle failed (DataError)" in told["message"]
    assert stopped.children() == []
