"""What the API server takes, refuses and shows, by the committed CRDs alone.

They are installed under a group of their own, so that no operator acts on the objects and an installed release stays
as it is.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube import CommandError, Kubectl

Object = dict[str, Any]

_ROOT = Path(__file__).resolve().parents[2]
_CONTRACT = _ROOT / "tests" / "contract"
_GROUP = "tunesmith.dev"
_OWN_GROUP = "admission.tunesmith.test"
_NAMESPACE = "e2e-admission"
_JOBS = f"finetunejobs.{_OWN_GROUP}"
STATUS: Object = yaml.safe_load((_CONTRACT / "status.yaml").read_text(encoding="utf-8"))


def files(folder: str) -> list[Any]:
    """Return the files of a folder as parameters."""
    return [pytest.param(path, id=path.stem) for path in sorted((_CONTRACT / folder).glob("*.yaml"))]


def moved(path: Path) -> str:
    """Return a file's content with the group of the tests."""
    return path.read_text(encoding="utf-8").replace(_GROUP, _OWN_GROUP)


@pytest.fixture(scope="module")
def kubectl(environment: dict[str, str]) -> Iterator[Kubectl]:
    """Kubectl in a namespace of a cluster that knows both kinds."""
    kubectl = Kubectl(environment, _NAMESPACE)
    crds = "\n---\n".join(moved(path) for path in sorted((_ROOT / "crds").glob("*.yaml")))
    try:
        kubectl("apply", "--server-side", "--filename", "-", stdin=crds)
        kubectl("wait", "--for=condition=Established", "--timeout=30s", "--filename", "-", stdin=crds)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}
        kubectl("apply", "--filename", "-", stdin=json.dumps(namespace))
        yield kubectl
    finally:
        kubectl("delete", "namespace", _NAMESPACE, "--ignore-not-found", limit=120)
        kubectl("delete", "--ignore-not-found", "--filename", "-", stdin=crds, limit=120)


def refusal(kubectl: Kubectl, manifest: str) -> str:
    """Return why the API server refuses an object."""
    with pytest.raises(CommandError) as error:
        kubectl("apply", "--dry-run=server", "--filename", "-", stdin=manifest)
    return error.value.output


def test_the_crds_are_accepted_under_their_own_name(kubectl: Kubectl) -> None:
    arguments = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", "crds/")
    output = kubectl(*arguments)
    assert "finetunejobs.tunesmith.dev serverside-applied" in output
    assert "alignmentjobs.tunesmith.dev serverside-applied" in output


@pytest.mark.parametrize("path", files("valid"))
def test_accepted(kubectl: Kubectl, path: Path) -> None:
    assert "(server dry run)" in kubectl("apply", "--dry-run=server", "--filename", "-", stdin=moved(path))


@pytest.mark.parametrize("path", files("bad"))
def test_refused(kubectl: Kubectl, path: Path) -> None:
    output = refusal(kubectl, moved(path))
    expected = [
        line.removeprefix("# refused: ")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("# refused: ")
    ]
    for part in expected:
        assert part in output


def fine_tuning(name: str) -> Object:
    """Return a small valid job."""
    content: Object = yaml.safe_load(moved(_CONTRACT / "valid" / "sft-minimal.yaml"))
    content["metadata"]["name"] = name
    return content


def changed(job: Object, **fields: Any) -> str:
    """Return the job as JSON with other fields in its spec."""
    return json.dumps({**job, "spec": {**job["spec"], **fields}})


def set_status(kubectl: Kubectl, name: str, status: Object) -> None:
    """Write a job's status, as the operator does."""
    patch = json.dumps({"status": status})
    kubectl("patch", _JOBS, name, "--subresource=status", "--type=merge", "--patch", patch)


@pytest.fixture(scope="module")
def started(kubectl: Kubectl) -> Object:
    """A job that the operator has started."""
    job = fine_tuning("started")
    kubectl("apply", "--filename", "-", stdin=json.dumps(job))
    set_status(kubectl, "started", {"startTime": "2026-01-31T12:00:00Z"})
    return job


def test_one_that_waits_can_be_changed(kubectl: Kubectl) -> None:
    job = fine_tuning("waiting")
    kubectl("apply", "--filename", "-", stdin=json.dumps(job))
    set_status(kubectl, "waiting", {"observedGeneration": 1, "state": "Waiting"})
    kubectl("apply", "--filename", "-", stdin=changed(job, numNodes=2))


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"maxSteps": 5}},
        {"model": {"path": {"claim": "others"}}},
        {"datasets": [{"claim": {"name": "data", "path": "other.jsonl"}}]},
        {"accelerator": "cpu"},
        {"method": "pretrain"},
        {"peft": {"lora": {"r": 4}}},
        {"numNodes": 2, "runId": "1"},
    ],
    ids=", ".join,
)
def test_a_change_is_refused(kubectl: Kubectl, started: Object, change: Object) -> None:
    output = refusal(kubectl, changed(started, **change))
    assert "spec: Invalid value" in output
    assert "set a new runId together with the change to start a fresh run" in output


def test_a_change_with_a_new_run_id_is_accepted(kubectl: Kubectl, started: Object) -> None:
    manifest = changed(started, numNodes=2, runId="2")
    assert "configured" in kubectl("apply", "--dry-run=server", "--filename", "-", stdin=manifest)


def test_the_run_policy_is_free(kubectl: Kubectl, started: Object) -> None:
    manifest = changed(started, runPolicy={"backoffLimit": 9})
    assert "configured" in kubectl("apply", "--dry-run=server", "--filename", "-", stdin=manifest)


def test_naming_the_default_run_id_changes_nothing(kubectl: Kubectl, started: Object) -> None:
    manifest = changed(started, runId="1")
    assert "configured" in kubectl("apply", "--dry-run=server", "--filename", "-", stdin=manifest)


@pytest.fixture(scope="module")
def stored(kubectl: Kubectl) -> Object:
    """The status as the API server keeps it."""
    kubectl("apply", "--filename", "-", stdin=json.dumps(fine_tuning("telling")))
    set_status(kubectl, "telling", STATUS)
    content: Object = json.loads(kubectl("get", _JOBS, "telling", "--output", "json"))
    return content


def test_nothing_of_it_is_lost(stored: Object) -> None:
    assert stored["status"] == STATUS


def test_the_spec_is_stored_as_the_user_wrote_it(stored: Object) -> None:
    assert stored["spec"] == fine_tuning("telling")["spec"]


@pytest.mark.usefixtures("stored")
def test_kubectl_get_shows_it(kubectl: Kubectl) -> None:
    head, row = kubectl("get", _JOBS, "telling").splitlines()
    assert head.split() == ["NAME", "METHOD", "MODEL", "STATE", "PROGRESS(%)", "LOSS", "ETA(S)", "AGE"]
    assert row.split()[:7] == ["telling", "sft", "models", "Running", "42", "1.234", "90"]


@pytest.mark.usefixtures("stored")
def test_kubectl_get_wide_shows_more(kubectl: Kubectl) -> None:
    head, row = kubectl("get", _JOBS, "telling", "--output", "wide").splitlines()
    assert head.split()[8:] == ["STEP", "STEPS", "ATTEMPT", "CLAIM", "REASON"]
    assert row.split()[8:] == ["420", "1000", "2", "results", "Training"]


def test_kubectl_explain_knows_every_level(kubectl: Kubectl) -> None:
    for field in ("spec.training.maxSteps", "spec.podTemplate.env.valueFrom.secretKeyRef.key", "status.attempts"):
        arguments = ("explain", f"finetunejob.{field}", f"--api-version={_OWN_GROUP}/v1alpha1")
        assert "DESCRIPTION:" in kubectl(*arguments)
