"""The only author of the child. What else knows that it is a PyTorchJob: `status/child.py`, which reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api import labels
from tunesmith_api.naming import attempt_name
from tunesmith_operator.desired import metadata, run_config
from tunesmith_operator.desired.pod import pod_template

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun

API_VERSION = "kubeflow.org/v1"
KIND = "PyTorchJob"


def child(run: FrozenRun, number: int) -> dict[str, Any]:
    """Return the PyTorchJob of one attempt; it is created once and never changed.

    Worker replicas only, so that nothing is injected into the pods and all of them must succeed. Without backoffLimit,
    deadline and TTL: with any of them the training operator deletes pods before their outcome has been read.

    Args:
        run: The frozen run.
        number: Number of the attempt.
    """
    name = attempt_name(run.kind, run.name, number)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": run.namespace,
            "labels": metadata.of_attempt(run, number),
            "annotations": {labels.RUN_DIGEST: run_config.digest(run)},
            "ownerReferences": metadata.owners(run),
        },
        "spec": {
            # A string always: the training operator reads its own variable from it, and nothing else is allowed.
            "nprocPerNode": str(run.spec.num_proc_per_node),
            "runPolicy": {"cleanPodPolicy": "Running"},
            "pytorchReplicaSpecs": {
                "Worker": {
                    "replicas": run.spec.num_nodes,
                    "restartPolicy": "Never",
                    "template": pod_template(run, name, number),
                }
            },
        },
    }
