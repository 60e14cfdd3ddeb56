"""Jobs, the operator and the chart come and go: nothing is left behind, nothing of the user's is lost."""

from collections.abc import Callable, Iterator
from typing import Any

import install
import jobs
import pytest
from kube import Kubectl, run
from watching import Watched, until

Object = dict[str, Any]
Apply = Callable[..., Watched]


def terminating(kubectl: Kubectl) -> list[str]:
    """Return every object of a namespace that is being deleted."""
    kinds = "finetunejobs,alignmentjobs,pytorchjobs,pods,configmaps,persistentvolumeclaims,services"
    return [
        f"{each['kind']}/{each['metadata']['name']}"
        for each in kubectl.list(kinds)
        if each["metadata"].get("deletionTimestamp")
    ]


def test_deleting_a_running_job_removes_its_children_and_keeps_its_claim(apply: Apply, space: Kubectl) -> None:
    job = apply(jobs.slow_pretrain("deleted", steps=2000))
    job.wait_for_step(10)
    assert {name.partition("/")[0] for name in job.children()} == {"PyTorchJob", "Pod", "ConfigMap"}
    space("delete", job.kind, job.name, "--timeout=20s")
    until(lambda: not job.children(), "its children are gone", 90)
    claim = space.get("persistentvolumeclaim", "deleted-ftj")
    assert claim is not None
    assert claim["status"]["phase"] == "Bound"
    assert "deletionTimestamp" not in claim["metadata"]


def test_a_job_of_the_same_name_goes_on_with_the_same_claim(apply: Apply, space: Kubectl) -> None:
    first = apply(jobs.pretrain("again")).wait_complete()
    space("delete", "finetunejob", "again", "--timeout=20s")
    second = apply(jobs.pretrain("again")).wait_complete()
    assert second["output"]["claim"] == first["output"]["claim"]
    assert second["output"]["path"] != first["output"]["path"]
    assert second["output"]["latestPath"] == first["output"]["latestPath"]


@pytest.fixture
def reinstalled(installed: Callable[..., Kubectl]) -> Iterator[Callable[..., Kubectl]]:
    """Installs the operator; it is as the other tests want it in the end."""
    yield installed
    installed()


def test_an_upgrade_that_changes_defaults_leaves_a_running_attempt_untouched(
    apply: Apply, space: Kubectl, reinstalled: Callable[..., Kubectl], references: dict[str, str]
) -> None:
    job = apply(jobs.slow_pretrain("untouched", steps=150))
    job.wait_for_step(10)
    (before,) = space.list("pytorchjobs")
    (pod,) = job.pods()
    profile = {"env": {"NEW_DEFAULT": "yes"}, "sharedMemory": "128Mi"}
    image = {"image": references["trainer-cpu"]} if "trainer-cpu" in references else {}
    operator = reinstalled({"accelerators": {"cpu": {**image, **profile}}})
    config = operator.get("configmap", install.RELEASE)
    assert config is not None
    assert "NEW_DEFAULT" in config["data"]["config.yaml"]
    job.wait_until(lambda status: status["progress"]["currentStep"] > 60, "the new operator follows it", 120)
    (after,) = space.list("pytorchjobs")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    assert [each["metadata"]["uid"] for each in job.pods()] == [pod["metadata"]["uid"]]
    status = job.wait_complete()
    assert len(status["attempts"]) == 1

    fresh = apply(jobs.pretrain("fresh", steps=2))
    fresh.wait_until(lambda status: status.get("attempts"), "its first attempt", 60)
    (child,) = space.list("pytorchjobs", "tunesmith.dev/job-name=fresh")
    (container,) = child["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    assert {"name": "NEW_DEFAULT", "value": "yes"} in container["env"]


def test_helm_uninstall_with_live_jobs_leaves_nothing_terminating(
    apply: Apply, space: Kubectl, reinstalled: Callable[..., Kubectl], environment: dict[str, str]
) -> None:
    job = apply(jobs.slow_pretrain("orphan", steps=2000))
    job.wait_for_step(10)
    run(
        ("helm", "uninstall", install.RELEASE, "--namespace", install.NAMESPACE, "--wait", "--timeout", "90s"),
        environment,
        limit=120,
    )
    system = Kubectl(environment, install.NAMESPACE)
    until(lambda: not system.list("pods"), "the operator is gone", 60)
    assert terminating(space) == []
    assert job.read()["metadata"]["name"] == "orphan"  # the CRDs, and so the jobs, stay
    # Without any operator a user can still delete: no finalizer holds anything back.
    space("delete", "finetunejob", "orphan", "--timeout=20s")
    until(lambda: not job.children(), "the garbage collector took its children", 90)
    assert space.get("persistentvolumeclaim", "orphan-ftj") is not None
    space("delete", "namespace", space.namespace, "--timeout=120s", limit=130)


def test_an_installation_for_one_namespace_needs_no_right_beyond_it(
    apply: Apply, space: Kubectl, reinstalled: Callable[..., Kubectl]
) -> None:
    operator = reinstalled({"watchNamespaces": [space.namespace], "rbac": {"aggregate": False}, "replicas": 2})
    release = f"app.kubernetes.io/instance={install.RELEASE}"
    assert operator.list("clusterroles,clusterrolebindings", release) == []
    apply(jobs.pretrain("confined")).wait_complete()
    logs = operator("logs", "--selector", "app.kubernetes.io/component=operator", "--tail", "-1").lower()
    assert "confined" in logs
    assert "forbidden" not in logs
    assert "403" not in logs


def test_an_operator_that_comes_back_goes_on_with_what_it_finds(
    apply: Apply, operator: Kubectl, space: Kubectl
) -> None:
    operator("scale", f"deployment/{install.RELEASE}", "--replicas=0")
    try:
        until(lambda: not operator.list("pods", "app.kubernetes.io/component=operator"), "it is gone", 60)
        job = apply(jobs.pretrain("patient"))
    finally:
        operator("scale", f"deployment/{install.RELEASE}", "--replicas=1")
    assert len(job.wait_complete()["attempts"]) == 1
