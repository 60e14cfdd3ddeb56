"""Why an attempt ended: one table of what is seen, and what is made of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import scenario

from tunesmith_api.v1alpha1.status import Attempt, PodIdentity
from tunesmith_operator.inputs import JobKey, Termination
from tunesmith_operator.status import ending, pods
from tunesmith_operator.status.attempts import Ending
from tunesmith_operator.status.child import Child

KEY = JobKey("FineTuneJob", "team", "tiny")
NOW = scenario.moment("2026-01-31T12:10:00Z")
CHILD = Child(
    name="tiny-ftj-1", uid="child-1", owner_uid="u", run_id="1", attempt=1, run_digest="", created=None,
    deleting=False, failure="", suspended=False,
)  # fmt: skip


def judge(*seen: Any, child: Child | None = CHILD, nodes: int | None = None) -> Any:
    """Judge an attempt by its pods: a Termination is a pod that is gone, a mapping one that is there, None one lost."""
    identities, there, terminations = [], [], {}
    for index, what in enumerate(seen):
        uid = f"pod-{index}"
        identities.append(PodIdentity(index=index, uid=uid))
        if isinstance(what, Termination):
            terminations[uid] = what
        elif what is not None:
            described = {"index": index, "uid": uid, "started": "2026-01-31T12:00:10Z", **what}
            there.append(pods.read(scenario.pod(KEY, described), {}))
    attempt = Attempt(
        number=1, run_id="1", child="tiny-ftj-1", child_uid="child-1", start_time="2026-01-31T12:00:00Z",
        pods=tuple(identities),
    )  # fmt: skip
    group = ending.members(attempt, tuple(there), terminations)
    return ending.judge(group, nodes or len(seen), child, started=True, now=NOW)


def ended(code: int, **fields: Any) -> dict[str, Any]:
    """Describe a pod that has ended and is still there."""
    return {"terminated": {"exitCode": code, "finishedAt": "2026-01-31T12:09:58Z", **fields}}


RUNS: dict[str, Any] = {}
OUTPUT = {"kind": "model", "path": "p", "digest": "sha256:" + "a" * 64, "sizeBytes": 1}


def test_running_pods_end_nothing() -> None:
    assert judge(RUNS, RUNS) is None


def test_no_pods_yet_end_nothing() -> None:
    assert judge(nodes=2) is None


def test_success_needs_every_pod() -> None:
    done = ended(0, outcome={"output": OUTPUT})
    assert isinstance(judge(done, RUNS), ending.Undecided)
    verdict = judge(done, ended(0))
    assert (verdict.result, verdict.outcome.output.kind) == ("Succeeded", "model")


def test_success_of_fewer_pods_than_wanted_is_none() -> None:
    assert isinstance(judge(ended(0, outcome={"output": OUTPUT}), nodes=2), ending.Undecided)


@pytest.mark.parametrize(
    "message",
    ["", "not JSON", "{}", '{"attempt": 1}', "x" * 5000],
    ids=["empty", "text", "empty object", "fields missing", "too long"],
)
def test_success_without_a_readable_outcome_is_tried_again(message: str) -> None:
    verdict = judge(ended(0, message=message))
    assert (verdict.result, verdict.reason) == ("Disrupted", "OutcomeMissing")


@pytest.mark.parametrize(("field", "value"), [("attempt", 2), ("podUid", "another")])
def test_an_outcome_of_somebody_else_is_ignored(field: str, value: Any) -> None:
    fields = {"output": OUTPUT, field: value}
    assert judge(ended(0, outcome=fields)).reason == "OutcomeMissing"


@pytest.mark.parametrize(
    ("code", "fields", "result", "reason"),
    [
        (10, {}, "Failed", "InvalidSpec"),
        (11, {}, "Failed", "DataError"),
        (12, {}, "Failed", "ModelNotFound"),
        (14, {}, "Failed", "OutputConflict"),
        (15, {}, "Failed", "DiskFull"),
        (16, {}, "Failed", "WorldSizeMismatch"),
        (1, {}, "Crashed", "ExitCode1"),
        (127, {}, "Crashed", "ExitCode127"),
        (134, {}, "Crashed", "Aborted"),
        (137, {}, "Crashed", "Killed"),
        (137, {"reason": "OOMKilled"}, "Crashed", "OOMKilled"),
        (137, {"reason": "ContainerStatusUnknown"}, "Disrupted", "Killed"),
        (139, {}, "Crashed", "SegmentationFault"),
        (143, {}, "Disrupted", "Terminated"),
        (200, {}, "Disrupted", "Fenced"),
        (201, {}, "Crashed", "CollectiveFailed"),
        (203, {}, "Crashed", "InternalError"),
        (255, {}, "Crashed", "ExitCode255"),
    ],
)
def test_class_of_an_exit_code(code: int, fields: dict[str, Any], result: str, reason: str) -> None:
    verdict = judge(ended(code, **fields))
    assert (verdict.result, verdict.reason, verdict.exit_code) == (result, reason, code)


def test_a_permanent_code_counts_although_the_pod_was_deleted() -> None:
    assert judge(Termination(11, "Error", "", disrupted=True)).result == "Failed"


def test_a_pod_that_its_node_turned_away_is_no_crash() -> None:
    verdict = judge({"phase": "Failed", "reason": "OutOfcpu", "message": "Node has no cpu"})
    assert (verdict.result, verdict.reason, verdict.exit_code) == ("Disrupted", "OutOfcpu", None)
    assert "Node has no cpu" in verdict.message


def test_a_killed_pod_that_was_deleted_is_disrupted() -> None:
    verdict = judge(Termination(137, "Error", "", disrupted=True, deletion_requested=NOW))
    assert (verdict.result, verdict.reason) == ("Disrupted", "PodDeleted")


def test_a_pod_gone_without_a_word_is_disrupted() -> None:
    assert judge(None).reason == "PodGone"


@pytest.mark.parametrize("child", [None, replace(CHILD, deleting=True)])
def test_a_deleted_child_ends_the_attempt(child: Child | None) -> None:
    verdict = judge(RUNS, child=child)
    assert (verdict.result, verdict.reason) == ("Disrupted", "ChildDeleted")


def test_a_child_that_failed_without_pods_ends_the_attempt() -> None:
    verdict = judge(child=replace(CHILD, failure="spec is invalid"), nodes=1)
    assert (verdict.result, verdict.reason) == ("Crashed", "ChildFailed")
    assert "spec is invalid" in verdict.message


def test_a_deleted_child_explains_its_lost_pods() -> None:
    assert judge(None, child=None).reason == "ChildDeleted"


def test_success_is_seen_although_the_child_was_deleted() -> None:
    assert judge(ended(0, outcome={"output": OUTPUT}), child=None).result == "Succeeded"


def test_permanent_beats_everything() -> None:
    crash = Termination(139, "Error", "", finished=NOW - timedelta(seconds=50))
    assert judge(crash, ended(143), ended(12)).reason == "ModelNotFound"


def test_a_disruption_beats_a_crash_when_nothing_tells_which_came_first() -> None:
    assert judge(ended(139), None).result == "Disrupted"


def test_an_eviction_beats_a_crash() -> None:
    evicted = Termination(143, "Error", "", disrupted=True, disruption="PreemptionByScheduler")
    verdict = judge(ended(139), evicted)
    assert (verdict.result, verdict.reason) == ("Disrupted", "PreemptionByScheduler")


def test_a_deletion_after_the_crash_is_its_consequence() -> None:
    cleaned = Termination(143, "Error", "", disrupted=True, deletion_requested=NOW)
    assert judge(cleaned, ended(139)).reason == "SegmentationFault"


def test_a_crash_after_the_deletion_is_its_consequence() -> None:
    deleted = Termination(143, "Error", "", disrupted=True, deletion_requested=NOW - timedelta(seconds=30))
    assert judge(deleted, ended(139)).reason == "PodDeleted"


def test_a_lost_peer_is_waited_for_and_then_counts() -> None:
    verdict = judge(ended(201), RUNS)
    assert isinstance(verdict, ending.Undecided)
    assert verdict.seconds == ending.SYMPTOM_SECONDS - 2
    late = {"terminated": {"exitCode": 201, "finishedAt": "2026-01-31T12:08:00Z"}}
    assert judge(late, RUNS).reason == "CollectiveFailed"


def test_a_lost_peer_on_a_silent_node_is_a_disruption() -> None:
    silent = {"node": "node-b", "conditions": [{"type": "Ready", "status": "False"}]}
    verdict = judge(ended(201), silent)
    assert (verdict.result, verdict.reason) == ("Disrupted", "NodeLost")


def test_the_cause_beats_the_symptom() -> None:
    assert judge(ended(201), ended(137, reason="OOMKilled")).reason == "OOMKilled"


def test_a_deleted_pod_that_does_not_end_is_given_up() -> None:
    assert judge({"deleted": "2026-01-31T12:09:30Z"}) is None
    assert judge({"deleted": "2026-01-31T12:08:30Z", "node": "node-b"}).reason == "NodeLost"


def test_pods_that_outlive_rank_0_are_bounded() -> None:
    long_ago = {"terminated": {"exitCode": 0, "finishedAt": "2026-01-31T12:01:00Z", "outcome": {"output": OUTPUT}}}
    verdict = judge(long_ago, RUNS)
    assert isinstance(verdict, Ending)
    assert (verdict.result, verdict.reason) == ("Crashed", "PeersStuck")


def test_the_trainers_words_are_told() -> None:
    assert judge(ended(11, outcome={"message": "a.jsonl, row 3: broken"})).message == "a.jsonl, row 3: broken"


def test_the_kubelets_words_are_told_when_the_trainer_said_nothing() -> None:
    message = "Traceback (most recent call last):\n  ...\nImportError: no torch\n\n"
    assert judge(ended(1, message=message)).message == (
        "the trainer ended with exit code 1; its last words: ImportError: no torch"
    )
