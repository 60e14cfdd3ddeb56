"""Claims that are made from a template when there is none: never owned, so that they outlive their job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_operator.desired import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith_api.run import FrozenRun
    from tunesmith_api.v1alpha1.compute import ClaimTemplate


def claims(run: FrozenRun) -> Iterator[dict[str, Any]]:
    """Return the PersistentVolumeClaims that a run writes to, as their templates ask for them."""
    output, cache = run.spec.output, run.spec.model.cache
    yield _claim(run, run.output.claim, output.claim_template, metadata.identity(run))
    if cache is not None and cache.claim_name != run.output.claim:
        yield _claim(run, cache.claim_name, cache.claim_template, metadata.SHARED_CACHE)


def _claim(run: FrozenRun, name: str, template: ClaimTemplate, labels: dict[str, str]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": list(template.access_modes or ("ReadWriteOnce",)),
        "resources": {"requests": {"storage": template.size}},
    }
    if template.storage_class_name is not None:
        spec["storageClassName"] = template.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": run.namespace, "labels": labels},
        "spec": spec,
    }
