"""The kinds of objects the operator touches, and where the API server serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tunesmith_api.labels import GROUP, VERSION
from tunesmith_api.v1alpha1.jobs import KINDS


@dataclass(frozen=True)
class Resource:
    """A kind of object."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def root(self) -> str:
        """The path of its group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Return the path of a collection, an object or a part of it; no namespace means all of them."""
        parts = [self.root]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        return "/".join(parts + [part for part in (name, subresource) if part])


PYTORCHJOB: Final = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
BATCH_JOB: Final = Resource("batch", "v1", "jobs", "Job")
POD: Final = Resource("", "v1", "pods", "Pod")
CONFIG_MAP: Final = Resource("", "v1", "configmaps", "ConfigMap")
CLAIM: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
LEASE: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
JOBS: Final = tuple(Resource(GROUP, VERSION, job.plural, job.kind()) for job in KINDS)

BY_KIND: Final = {resource.kind: resource for resource in (PYTORCHJOB, BATCH_JOB, POD, CONFIG_MAP, CLAIM, LEASE, *JOBS)}
