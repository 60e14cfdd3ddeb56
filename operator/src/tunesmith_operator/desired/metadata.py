"""Labels and owner references of the objects that a job brings about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api import labels

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_operator.inputs import Object


SHARED_CACHE = {labels.MANAGED_BY: labels.FIELD_MANAGER, labels.COMPONENT: "hub-cache"}
"""Labels of a cache claim: it belongs to no job, though one of them was the first to need it."""


def identity(run: FrozenRun) -> dict[str, str]:
    """Return the labels that tell which job an object belongs to."""
    return {
        labels.MANAGED_BY: labels.FIELD_MANAGER,
        labels.JOB_KIND: run.kind,
        labels.JOB_NAME: run.name,
        labels.JOB_UID: run.uid,
    }


def of_run(run: FrozenRun) -> dict[str, str]:
    """Return the labels of an object that belongs to one run."""
    return {**identity(run), labels.RUN_ID: run.run_id}


def of_attempt(run: FrozenRun, number: int) -> dict[str, str]:
    """Return the labels of an object that belongs to one attempt."""
    return {**of_run(run), labels.ATTEMPT: str(number)}


def of_preparation(run: FrozenRun, number: int) -> dict[str, str]:
    """Return the labels of an object that belongs to one preparation."""
    return {**of_run(run), labels.PREPARATION: str(number)}


def owners(run: FrozenRun) -> list[dict[str, Any]]:
    """Return the owner references that make an object go with its job.

    Without blockOwnerDeletion: where that is policed (OpenShift) it needs the right to write finalizers.
    """
    return [
        {"apiVersion": labels.API_VERSION, "kind": run.kind, "name": run.name, "uid": run.uid, "controller": True},
    ]


def owner_uid(obj: Object) -> str:
    """Return the UID of an object's controller; empty when it has none."""
    references = obj.get("metadata", {}).get("ownerReferences") or []
    return next((str(reference.get("uid", "")) for reference in references if reference.get("controller")), "")


def is_leftover(obj: Object, kind: str, name: str) -> bool:
    """Whether an object belongs to an earlier job of the same kind and name, or is going away: it only needs time."""
    metadata = obj.get("metadata", {})
    references = metadata.get("ownerReferences") or []
    return bool(metadata.get("deletionTimestamp")) or any(
        reference.get("apiVersion") == labels.API_VERSION
        and reference.get("kind") == kind
        and reference.get("name") == name
        for reference in references
    )
