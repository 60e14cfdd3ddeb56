"""Installation of the operator with its chart, as a user would do it."""

import json
from collections.abc import Mapping
from typing import Any

from kube import CHART, CommandError, Kubectl, restricted_namespace, run

NAMESPACE = "tunesmith-system"
RELEASE = "tunesmith"
_TRAINING_OPERATOR_CRD = "pytorchjobs.kubeflow.org"


def install(kubectl: Kubectl, images: Mapping[str, str], values: Mapping[str, Any] | None = None) -> None:
    """Install or upgrade the operator and wait until it is ready.

    Args:
        kubectl: kubectl in the operator's namespace.
        images: References of `operator` and `trainer-cpu`; what is absent keeps the chart's default.
        values: Further values of the chart.

    Raises:
        CommandError: The training operator is missing, or the operator did not become ready; the message tells why.
    """
    _require_training_operator(kubectl)
    kubectl.apply(restricted_namespace(kubectl.namespace))
    _forget_interrupted(kubectl)
    command = (
        "helm", "upgrade", "--install", RELEASE, str(CHART), "--namespace", kubectl.namespace, "--values", "-",
        "--wait", "--timeout", "3m", *_helm_options(kubectl),
    )  # fmt: skip
    merged = json.dumps({**image_values(images), **(values or {})})
    try:
        run(command, kubectl.environment, stdin=merged, limit=240)
    except CommandError as error:
        raise CommandError(command, "the operator was not installed", error.output + diagnosis(kubectl)) from error


def _forget_interrupted(kubectl: Kubectl) -> None:
    """Remove the record of a helm that was interrupted: it would refuse every later upgrade."""
    pending = "status in (pending-install, pending-upgrade, pending-rollback)"
    kubectl("delete", "secret", "--selector", f"owner=helm, name={RELEASE}, {pending}")


def _helm_options(kubectl: Kubectl) -> tuple[str, ...]:
    """Return what lets the chart take over CRDs that somebody has applied by hand."""
    version = run(("helm", "version", "--short"), kubectl.environment)
    return ("--take-ownership", "--force-conflicts") if version.startswith("v4") else ("--take-ownership",)


def image_values(images: Mapping[str, str]) -> dict[str, Any]:
    """Return the chart's values that name these images."""
    values: dict[str, Any] = {}
    if "operator" in images:
        values["image"] = _image(images["operator"])
    if "trainer-cpu" in images:
        values["accelerators"] = {"cpu": {"image": images["trainer-cpu"]}}
    return values


def diagnosis(kubectl: Kubectl) -> str:
    """Return what the cluster tells about the operator's pods."""
    return "\n".join(
        (
            "\nThe operator's pods:",
            kubectl.try_to("get", "pods", "--output", "wide"),
            kubectl.try_to("get", "events", "--sort-by", ".lastTimestamp"),
            kubectl.try_to("logs", f"deployment/{RELEASE}", "--tail", "40"),
        )
    )


def _image(reference: str) -> dict[str, str]:
    if "@" in reference:
        repository, digest = reference.split("@")
        return {"repository": repository, "digest": digest}
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag} if repository and "/" not in tag else {"repository": reference}


def _require_training_operator(kubectl: Kubectl) -> None:
    if kubectl.get("customresourcedefinition", _TRAINING_OPERATOR_CRD) is None:
        raise CommandError(
            ("kubectl", "get", "crd", _TRAINING_OPERATOR_CRD),
            "the Kubeflow training operator is not installed in this cluster",
            "Install its version 1.9 (manifests/overlays/standalone of kubeflow/training-operator) and run this again.",
        )
