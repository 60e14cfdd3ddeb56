"""What a pass has to fetch, told from raw JSON of any shape."""

from typing import Any

import pytest

from tunesmith_operator.desired import references
from tunesmith_operator.inputs import JobKey

KEY = JobKey("FineTuneJob", "team", "tiny")
JOB: dict[str, Any] = {
    "spec": {
        "runId": "7",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [
            {"claim": {"name": "a", "path": "x"}},
            {
                "configMap": {"name": "m", "key": "k.txt"},
                "promptFunction": {"configMap": {"name": "f", "key": "k.py"}, "function": "prompt"},
            },
        ],
        "evaluation": {"datasets": [{"claim": {"name": "b", "path": "y"}}]},
        "podTemplate": {
            "volumes": [
                {"name": "v", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "w", "configMap": {"name": "n"}},
            ]
        },
    },
    "status": {"attempts": [{"child": "tiny-ftj-1"}, {"child": "tiny-ftj-2"}]},
}
BASE = {"status": {"output": {"claim": "base-ftj", "baseModel": {"claim": "models"}}}}


def test_everything_a_job_refers_to() -> None:
    other = JobKey("FineTuneJob", "team", "base")
    assert references.run_config(KEY, JOB) == "tiny-ftj-run-7"
    assert references.child(KEY, JOB) == "tiny-ftj-2"
    assert references.dependencies(KEY, JOB) == {"model.fromJob": other}
    assert references.claims(KEY, JOB, {other: BASE}) == {"a", "b", "c", "base-ftj", "models", "tiny-ftj"}
    assert references.input_claims(KEY, JOB, {}) == {"a", "b", "c"}
    assert references.config_maps(JOB) == {"f", "m", "n"}
    assert references.config_map_keys(JOB) == (("m", "k.txt"), ("f", "k.py"))


def test_a_checkpoint_is_read_from_the_claim_that_the_other_job_writes_to() -> None:
    other = JobKey("FineTuneJob", "team", "base")
    job = {"spec": {"model": {"resumeFrom": {"name": "base"}}}}
    resolved = {"status": {"resolved": {"baseModel": {"claim": "models"}}}}
    assert references.dependencies(KEY, job) == {"model.resumeFrom": other}
    assert references.input_claims(KEY, job, {other: resolved}) == {"base-ftj", "models"}
    named = {"spec": {"output": {"claimName": "results"}}}
    assert references.input_claims(KEY, job, {other: named}) == {"results"}


def test_models_beside_the_one_that_is_trained_are_read_from_claims_and_jobs() -> None:
    spec = {
        "model": {"fromJob": {"name": "base"}},
        "referenceModel": {"path": {"claim": "reference"}},
        "rewards": [
            {"function": "length"},
            {"model": {"path": {"claim": "judge"}}},
            {"model": {"fromJob": {"kind": "AlignmentJob", "name": "reward"}}},
        ],
    }
    other, reward = JobKey("FineTuneJob", "team", "base"), JobKey("AlignmentJob", "team", "reward")
    job: dict[str, Any] = {"spec": spec}
    assert references.dependencies(KEY, job) == {"model.fromJob": other, "rewards[2].model.fromJob": reward}
    adapter = {"status": {"output": {"claim": "reward-alj", "baseModel": {"claim": "models"}}}}
    assert references.input_claims(KEY, job, {reward: adapter}) == {"reference", "judge", "reward-alj", "models"}


def test_a_reward_function_is_read_from_a_config_map() -> None:
    function = {"configMap": {"name": "code", "key": "rewards.py"}, "function": "score"}
    rewards = [{"name": "right", "answer": {}}, {"name": "own", "function": function}, "words", {"function": []}]
    assert references.config_maps({"spec": {"rewards": rewards}}) == {"code"}
    assert references.config_map_keys({"spec": {"rewards": rewards}}) == (("code", "rewards.py"),)


@pytest.mark.parametrize(
    ("status", "followed"),
    [
        ({}, True),
        ({"conditions": [{"type": "Failed", "status": "True"}]}, True),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, False),
        ({"startTime": "2026-01-31T12:00:00Z", "runId": "7"}, False),
        ({"startTime": "2026-01-31T12:00:00Z", "runId": "6"}, True),
    ],
)
def test_a_job_that_has_what_it_takes_leads_no_further(status: Any, *, followed: bool) -> None:
    assert bool(references.open_dependencies(KEY, {**JOB, "status": status})) == followed


def test_a_cache_is_made_when_it_does_not_exist() -> None:
    job = {"spec": {"model": {"name": "team/tiny", "cache": {"claimName": "models"}}, "output": {"claimName": "out"}}}
    assert references.made_claims(KEY, job) == {"models", "out"}
    assert references.claims(KEY, job, {}) == {"models", "out"}
    assert references.input_claims(KEY, job, {}) == frozenset()


def test_a_tokenizer_and_a_chat_template_are_read_from_claims_and_config_maps() -> None:
    model: dict[str, Any] = {"tokenizer": {"path": {"claim": "t"}}, "chatTemplate": {"claim": {"name": "c"}}}
    assert references.input_claims(KEY, {"spec": {"model": model}}, {}) == {"t", "c"}
    model["chatTemplate"] = {"configMap": {"name": "m", "key": "chat.jinja"}}
    assert references.config_maps({"spec": {"model": model}}) == {"m"}
    assert references.config_map_keys({"spec": {"model": model}}) == (("m", "chat.jinja"),)


@pytest.mark.parametrize(
    ("spec", "status", "device", "name"),
    [
        ({}, {}, "cuda", "tiny-ftj-prep-1"),
        ({}, {}, "cpu", None),
        ({"prepare": {"mode": "always"}}, {}, "cpu", "tiny-ftj-prep-1"),
        ({"prepare": {"mode": "never"}}, {}, "cuda", None),
        ({}, {"attempts": [{"runId": "1"}]}, "cuda", None),
        ({}, {"preparation": {"job": "x", "runId": "1"}}, "cuda", "x"),
        ({}, {"preparation": {"job": "x", "runId": "1", "endTime": "t", "result": "Crashed"}}, "cuda", "x"),
        ({}, {"preparation": {"job": "x", "runId": "1", "endTime": "t", "result": "Succeeded"}}, "cuda", None),
        ({}, {"preparation": {"job": "x", "runId": "0"}}, "cuda", "x"),
        ({}, {"preparation": {"job": "x", "runId": "0", "endTime": "t", "result": "Disrupted"}}, "cuda", None),
    ],
)
def test_a_preparation_is_looked_at_only_while_it_matters(
    spec: Any, status: Any, device: str, *, name: str | None
) -> None:
    assert references.preparation(KEY, {"spec": spec, "status": status}, device) == name


def test_a_fresh_job_looks_at_its_first_child() -> None:
    assert references.child(KEY, {"spec": {}}) == "tiny-ftj-1"
    assert references.run_id({"spec": {}}) == "1"


@pytest.mark.parametrize(
    "junk", [None, "text", 3, [], [None, 1, "x"], {"datasets": {"claim": 1}}, {"model": {"fromJob": []}}]
)
def test_junk_refers_to_nothing(junk: Any) -> None:
    job = {"spec": junk, "status": junk}
    assert references.claims(KEY, job, {}) == {"tiny-ftj"}
    assert references.config_maps(job) == frozenset()
    assert references.dependencies(KEY, job) == {}
