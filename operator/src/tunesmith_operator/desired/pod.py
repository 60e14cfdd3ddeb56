"""The pods of a run: `restricted` security, the run's volumes and variables, the profile's and the user's wishes."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Role:
    """What one kind of pod of a run has for itself.

    Attributes:
        component: Its `app.kubernetes.io/component`.
        container: Name of its container.
        arguments: Arguments of the trainer's program.
        environment: Environment variables, as the pod spec spells them.
        resources: Requests and limits.
        placement: Fields of the pod spec that say where it may run; empty ones are left out.
        grace_seconds: Time between SIGTERM and SIGKILL.
        ports: Ports that it serves.
    """

    component: str
    container: str
    arguments: tuple[str, ...]
    environment: list[dict[str, Any]]
    resources: dict[str, Any]
    placement: dict[str, Any]
    grace_seconds: int
    ports: tuple[dict[str, Any], ...] = ()


def pod_template(run: FrozenRun, child: str, number: int) -> dict[str, Any]:
    """Return the template of the pods of an attempt.

    Args:
        run: The frozen run.
        child: Name of the attempt's PyTorchJob.
        number: Number of the attempt.
    """
    role = Role(
        component="trainer",
        container=pod.CONTAINER_NAME,
        arguments=(),
        environment=environment(run, child, number, grace_seconds=GRACE_SECONDS),
        resources=_resources(run),
        placement=_scheduling(run),
        grace_seconds=GRACE_SECONDS,
        ports=(
            {"name": pod.PROGRESS_PORT_NAME, "containerPort": pod.PROGRESS_PORT, "protocol": "TCP"},
            {"name": pod.RENDEZVOUS_PORT_NAME, "containerPort": pod.RENDEZVOUS_PORT, "protocol": "TCP"},
        ),
    )
    return template(run, role, metadata.of_attempt(run, number))


def template(run: FrozenRun, role: Role, marks: dict[str, str]) -> dict[str, Any]:
    """Return the template of a pod of a run.

    Args:
        run: The frozen run.
        role: What it has for itself.
        marks: The labels that tell what it belongs to; no label of the user takes their place.
    """
    overlay = run.spec.pod_template
    meta: dict[str, Any] = {"labels": {**((overlay and overlay.labels) or {}), **_app_labels(role), **marks}}
    if overlay and overlay.annotations:
        meta["annotations"] = dict(overlay.annotations)
    volumes = mounted(run)
    placement = role.placement | {"imagePullSecrets": [{"name": name} for name in run.profile.image_pull_secrets]}
    return {
        "metadata": meta,
        "spec": {
            "containers": [_container(run, role) | {"volumeMounts": [m for v in volumes for m in v.mounts]}],
            "volumes": [volume.volume for volume in volumes],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": role.grace_seconds,
            "securityContext": _pod_security(run),
            **{name: value for name, value in placement.items() if value},
        },
    }


def overlay_of(run: FrozenRun) -> dict[str, Any]:
    """Return the user's overlay on the pods as the pod spec spells it; empty without one."""
    return run.spec.pod_template.to_wire() if run.spec.pod_template else {}


def _app_labels(role: Role) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "tunesmith-trainer",
        "app.kubernetes.io/component": role.component,
        "app.kubernetes.io/part-of": "tunesmith",
    }


def _container(run: FrozenRun, role: Role) -> dict[str, Any]:
    return {
        "name": role.container,
        "image": run.profile.image,
        "imagePullPolicy": run.profile.image_pull_policy,
        "command": ["python", "-m", "tunesmith_trainer", *role.arguments],
        "env": role.environment,
        **({"ports": list(role.ports)} if role.ports else {}),
        "resources": role.resources,
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
    profile, overlay = run.profile, overlay_of(run)
    return {
        # Of two wishes for one label the user's counts: it is the more specific one.
        "nodeSelector": {**profile.node_selector, **overlay.get("nodeSelector", {})},
        "tolerations": [t.to_wire() for t in profile.tolerations] + overlay.get("tolerations", []),
        "affinity": overlay.get("affinity"),
        "priorityClassName": overlay.get("priorityClassName"),
        "schedulerName": overlay.get("schedulerName"),
        "runtimeClassName": profile.runtime_class_name,
    }
