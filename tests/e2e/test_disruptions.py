"""A running job meets the faults of a cluster: it completes, from its last checkpoint on, with one writer at a time."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jobs
import pytest
import volume
from kube import Kubectl
from watching import Watched, condition, until

Object = dict[str, Any]
Apply = Callable[..., Watched]
STEPS = 100
SAVE_STEPS = 10
INTERRUPT_AT = 25
_TRAINING_OPERATOR = ("kubeflow", "deployment/training-operator")


@pytest.fixture
def running(apply: Apply) -> Watched:
    """A job that has trained past its second checkpoint."""
    job = apply(jobs.slow_pretrain("disturbed", steps=STEPS, save_steps=SAVE_STEPS))
    job.wait_for_step(INTERRUPT_AT)
    return job


@pytest.fixture
def complete_and_check(references: dict[str, str]) -> Callable[[Watched, Object], Object]:
    """Waits for the end and asserts what must hold after any disruption."""

    def run(job: Watched, before: Object) -> Object:
        status = job.wait_complete()
        check_attempts(status, before)
        claim = status["output"]["claim"]
        check_volume(job, status, volume.read(job.kubectl, references["trainer-cpu"], claim))
        return status

    return run


def check_attempts(status: Object, before: Object) -> None:
    """Assert that no step before the last checkpoint was trained again, and that nothing counted as a failure."""
    safe = max(each["step"] for each in before["checkpoints"])
    assert status.get("failures", 0) == 0
    first, *later = status["attempts"]
    assert first.get("resumedFromStep", 0) == 0
    for previous, attempt in zip(status["attempts"], later, strict=False):
        assert attempt["number"] == previous["number"] + 1
        assert attempt["resumedFromStep"] >= safe
        assert previous["result"] == "Disrupted"
        assert previous["reason"]
        assert previous["endTime"] <= attempt["startTime"]
        # A pod that is deleted by force may go on for a moment, and save once more, after it was last heard of.
        assert previous.get("lostSteps", 0) <= max(0, previous["lastStep"] - safe)
    assert status["attempts"][-1]["result"] == "Succeeded"
    assert status["disruptions"] == len(later)


def check_volume(job: Watched, status: Object, found: volume.Volume) -> None:
    """Assert that each attempt had one writer, and that the output is what its manifest says."""
    output = status["output"]
    run = output["path"].removesuffix("/output")
    manifest = found.json(f"{output['path']}/manifest.json")
    assert manifest["step"] == STEPS
    assert manifest["attempt"] == len(status["attempts"])
    for file in manifest["files"]:
        stored = found.files[f"{output['path']}/{file['path']}"]
        assert (stored["size"], stored["sha256"]) == (file["size"], file["sha256"])
    tokens = [path for path in found.below(f"{run}/attempts") if path.endswith(".json")]
    assert tokens == [f"{attempt['number']}.json" for attempt in status["attempts"]]
    for attempt in status["attempts"]:
        token = json.dumps(found.json(f"{run}/attempts/{attempt['number']}.json"))
        assert attempt["pods"][0]["uid"] in token
    times = [found.files[f"{run}/attempts/{token}"]["modified"] for token in tokens]
    assert times == sorted(times)
    assert not [path for path in found.below(run) if ".tmp" in path]
    assert found.links[output["latestPath"]].endswith(f"{run.rpartition('/')[2]}/output")


def processes_of(pod: Object) -> list[int]:
    """Return the processes of a pod's containers on this machine."""
    names = [each["containerID"].rpartition("/")[2] for each in pod["status"]["containerStatuses"]]
    found = []
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            text = group.read_text(encoding="utf-8")
        except OSError:  # it ended meanwhile
            continue
        if any(name in text for name in names):
            found.append(int(group.parent.name))
    return found


def kill_operator(operator: Kubectl) -> None:
    """End the operator without any notice: by SIGKILL where its processes are ours to signal, else by force."""
    for pod in operator.list("pods", "app.kubernetes.io/component=operator"):
        processes = processes_of(pod)
        for process in processes:
            os.kill(process, signal.SIGKILL)
        if not processes:
            operator("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")


def test_the_operator_is_killed(
    running: Watched, operator: Kubectl, complete_and_check: Callable[[Watched, Object], Object]
) -> None:
    before = running.status()
    kill_operator(operator)
    status = complete_and_check(running, before)
    assert len(status["attempts"]) == 1
    assert len(running.kubectl.list("pytorchjobs")) == 1


def test_a_pod_is_deleted(running: Watched, complete_and_check: Callable[[Watched, Object], Object]) -> None:
    before = running.status()
    (pod,) = running.pods()
    running.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    status = complete_and_check(running, before)
    assert len(status["attempts"]) == 2
    # It was told to end, so it saved first: nothing is lost.
    assert status["attempts"][0].get("lostSteps", 0) == 0
    assert status["attempts"][1]["resumedFromStep"] == status["attempts"][0]["lastStep"]


def test_a_pod_is_deleted_by_force(running: Watched, complete_and_check: Callable[[Watched, Object], Object]) -> None:
    before = running.status()
    (pod,) = running.pods()
    running.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")
    status = complete_and_check(running, before)
    assert len(status["attempts"]) == 2


@pytest.fixture
def training_operator(environment: dict[str, str]) -> Iterator[Callable[[int], None]]:
    """Scales the training operator; it runs again in the end."""
    namespace, deployment = _TRAINING_OPERATOR
    kubectl = Kubectl(environment, namespace)

    def scale(replicas: int) -> None:
        kubectl("scale", deployment, f"--replicas={replicas}")
        if replicas:
            kubectl("rollout", "status", deployment, "--timeout=120s", limit=130)
        else:
            until(lambda: not kubectl.list("pods", "control-plane=kubeflow-training-operator"), "it is gone", 60)

    yield scale
    scale(1)


def test_a_pod_is_deleted_by_force_while_the_training_operator_is_down(
    running: Watched,
    training_operator: Callable[[int], None],
    complete_and_check: Callable[[Watched, Object], Object],
) -> None:
    training_operator(0)
    before = running.status()
    (pod,) = running.pods()
    running.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")
    waiting = running.wait_until(
        lambda status: condition(status, "Ready").get("status") == "Unknown" and status["attempts"][0].get("result"),
        "the end of the first attempt and a reason to wait",
        60,
    )
    assert waiting["attempts"][0]["result"] == "Disrupted"
    training_operator(1)
    status = complete_and_check(running, before)
    assert len(status["attempts"]) == 2


def test_the_pytorchjob_is_deleted(running: Watched, complete_and_check: Callable[[Watched, Object], Object]) -> None:
    before = running.status()
    (child,) = running.kubectl.list("pytorchjobs")
    running.kubectl("delete", "pytorchjob", child["metadata"]["name"], "--wait=false")
    status = complete_and_check(running, before)
    assert len(status["attempts"]) == 2
    names = [each["metadata"]["name"] for each in running.kubectl.list("pytorchjobs")]
    assert names == ["disturbed-ftj-2"]
