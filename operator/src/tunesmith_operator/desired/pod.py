"""The trainer pod: `restricted` pod security, the run's volumes and variables, the profile's and the user's wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api import pod
from tunesmith_operator.accelerators import ACCELERATORS
from tunesmith_operator.desired import metadata
from tunesmith_operator.desired.environment import environment
from tunesmith_operator.desired.volumes import mounted

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun

GRACE_SECONDS = 60
"""What a pod gets between SIGTERM and SIGKILL, to save a checkpoint."""

_APP_LABELS = {
    "app.kubernetes.io/name": "tunesmith-trainer",
    "app.kubernetes.io/component": "trainer",
    "app.kubernetes.io/part-of": "tunesmith",
}


def pod_template(run: FrozenRun, child: str, number: int) -> dict[str, Any]:
    """Return the template of the pods of an attempt.

    Args:
        run: The frozen run.
        child: Name of the attempt's PyTorchJob.
        number: Number of the attempt.
    """
    template = run.spec.pod_template
    meta: dict[str, Any] = {
        "labels": {**((template and template.labels) or {}), **_APP_LABELS, **metadata.of_attempt(run, number)}
    }
    if template and template.annotations:
        meta["annotations"] = dict(template.annotations)
    volumes = mounted(run)
    return {
        "metadata": meta,
        "spec": {
            "containers": [_container(run, child, number) | {"volumeMounts": [m for v in volumes for m in v.mounts]}],
            "volumes": [volume.volume for volume in volumes],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": _pod_security(run),
            **_scheduling(run),
        },
    }


def _container(run: FrozenRun, child: str, number: int) -> dict[str, Any]:
    return {
        "name": pod.CONTAINER_NAME,
        "image": run.profile.image,
        "imagePullPolicy": run.profile.image_pull_policy,
        "command": ["python", "-m", "tunesmith_trainer"],
        "env": environment(run, child, number, grace_seconds=GRACE_SECONDS),
        "ports": [
            {"name": pod.PROGRESS_PORT_NAME, "containerPort": pod.PROGRESS_PORT, "protocol": "TCP"},
            {"name": pod.RENDEZVOUS_PORT_NAME, "containerPort": pod.RENDEZVOUS_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(run),
        "terminationMessagePath": pod.TERMINATION_LOG,
        # A trainer that dies without a word leaves the end of its log: the pod, and the log with it, will be gone.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def _resources(run: FrozenRun) -> dict[str, Any]:
    """Return the user's resources and the devices; the number of devices follows from numProcPerNode alone."""
    wanted = run.spec.resources_per_node
    devices = ACCELERATORS[run.profile.device].devices(run)
    requests = {**(wanted.requests or {}), **devices}
    limits = {**(wanted.limits or {}), **devices}
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


def _pod_security(run: FrozenRun) -> dict[str, Any]:
    # No fixed user: OpenShift assigns one per namespace, and the image runs under any with group 0.
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **run.profile.security_context}


def _scheduling(run: FrozenRun) -> dict[str, Any]:
    profile, template = run.profile, run.spec.pod_template
    overlay = template.to_wire() if template else {}
    fields = {
        # Of two wishes for one label the user's counts: it is the more specific one.
        "nodeSelector": {**profile.node_selector, **overlay.get("nodeSelector", {})},
        "tolerations": [t.to_wire() for t in profile.tolerations] + overlay.get("tolerations", []),
        "affinity": overlay.get("affinity"),
        "priorityClassName": overlay.get("priorityClassName"),
        "schedulerName": overlay.get("schedulerName"),
        "runtimeClassName": profile.runtime_class_name,
        "imagePullSecrets": [{"name": name} for name in profile.image_pull_secrets],
    }
    return {name: value for name, value in fields.items() if value}
