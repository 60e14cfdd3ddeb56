"""The output claim: made from the template when there is none; never owned, so that it outlives its job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_operator.desired import metadata

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun


def output_claim(run: FrozenRun) -> dict[str, Any]:
    """Return the PersistentVolumeClaim that a run writes to, as its template asks for it."""
    template = run.spec.output.claim_template
    spec: dict[str, Any] = {
        "accessModes": list(template.access_modes or ("ReadWriteOnce",)),
        "resources": {"requests": {"storage": template.size}},
    }
    if template.storage_class_name is not None:
        spec["storageClassName"] = template.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": run.output.claim, "namespace": run.namespace, "labels": metadata.identity(run)},
        "spec": spec,
    }
