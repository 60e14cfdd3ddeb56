"""The Job of a preparation: the trainer's pod without devices, on any node, ahead of the first attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api import labels, pod
from tunesmith_api.naming import preparation_name
from tunesmith_operator.desired import metadata, run_config
from tunesmith_operator.desired.environment import preparation_environment
from tunesmith_operator.desired.pod import Role, overlay_of, template

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun

API_VERSION = "batch/v1"
KIND = "Job"

_GRACE_SECONDS = 10  # nothing has to be saved
_QUEUE_LABELS = ("kueue.x-k8s.io/queue-name",)


def preparation(run: FrozenRun, number: int) -> dict[str, Any]:
    """Return the Job of one preparation; it is created once and never changed.

    Without retries, deadline and TTL: what follows on an end is decided by the outcome, which only its pod tells.

    Args:
        run: The frozen run.
        number: Number of the preparation.
    """
    marks = metadata.of_preparation(run, number)
    made = template(run, _role(run, number), marks)
    made["metadata"]["labels"] = {k: v for k, v in made["metadata"]["labels"].items() if k not in _QUEUE_LABELS}
    made["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": preparation_name(run.kind, run.name, number),
            "namespace": run.namespace,
            "labels": marks,
            "annotations": {labels.RUN_DIGEST: run_config.digest(run)},
            "ownerReferences": metadata.owners(run),
        },
        "spec": {"backoffLimit": 0, "template": made},
    }


def _role(run: FrozenRun, number: int) -> Role:
    resources = run.spec.prepare.resources
    amounts = (("requests", resources.requests), ("limits", resources.limits))
    return Role(
        component="preparation",
        container=pod.PREPARATION_CONTAINER_NAME,
        arguments=("prepare",),
        environment=preparation_environment(run, number),
        resources={name: dict(values) for name, values in amounts if values},
        placement=_placement(run),
        grace_seconds=_GRACE_SECONDS,
    )


def _placement(run: FrozenRun) -> dict[str, Any]:
    """Return where the pod may run: wherever training may, and not only there.

    Selectors, affinity and runtime class of profile and user choose nodes with devices; tolerations only open more.
    """
    overlay = overlay_of(run)
    return {
        "nodeSelector": run.spec.prepare.node_selector,
        "tolerations": [t.to_wire() for t in run.profile.tolerations] + overlay.get("tolerations", []),
        "priorityClassName": overlay.get("priorityClassName"),
        "schedulerName": overlay.get("schedulerName"),
    }
