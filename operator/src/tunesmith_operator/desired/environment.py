"""Environment variables of the containers: the trainer's and the preparation's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from tunesmith_api import labels, pod
from tunesmith_operator.accelerators import ACCELERATORS

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun


def environment(run: FrozenRun, child: str, number: int, *, grace_seconds: int) -> list[dict[str, Any]]:
    """Return the variables: the device's, the profile's, the user's, and last those that none of them may change.

    Args:
        run: The frozen run.
        child: Name of the attempt's PyTorchJob.
        number: Number of the attempt.
        grace_seconds: What a pod gets between SIGTERM and SIGKILL.
    """
    variables = _common(run, ACCELERATORS[run.profile.device].environment(run), number)
    _add(
        variables,
        {
            pod.ENV_GRACE_SECONDS: str(grace_seconds),
            "PET_NNODES": str(run.spec.num_nodes),
            "PET_NPROC_PER_NODE": str(run.spec.num_proc_per_node),
            "PET_MASTER_ADDR": f"{child}-worker-0",
            "PET_MASTER_PORT": str(pod.RENDEZVOUS_PORT),
        },
    )
    variables[pod.ENV_POD_UID] = _field(pod.ENV_POD_UID, "metadata.uid")
    # Only the training operator knows a pod's rank, and tells it by this label.
    variables["PET_NODE_RANK"] = _field("PET_NODE_RANK", f"metadata.labels['{labels.REPLICA_INDEX}']")
    return list(variables.values())


def preparation_environment(run: FrozenRun, number: int) -> list[dict[str, Any]]:
    """Return the variables of a preparation: the profile's and the user's, and none by which a device is found.

    Args:
        run: The frozen run.
        number: Number of the preparation.
    """
    variables = _common(run, {}, number)
    _add(variables, ACCELERATORS[run.profile.device].hidden())
    variables[pod.ENV_POD_UID] = _field(pod.ENV_POD_UID, "metadata.uid")
    return list(variables.values())


def _common(run: FrozenRun, device: dict[str, str], number: int) -> dict[str, dict[str, Any]]:
    variables: dict[str, dict[str, Any]] = {}
    _add(variables, device)
    _add(variables, run.profile.env)
    template = run.spec.pod_template
    for variable in (template.env if template else None) or ():
        variables[variable.name] = variable.to_wire()
    variables |= _hub(run)
    variables |= _secrets(run)
    _add(variables, {"HOME": pod.HOME_DIRECTORY, "TMPDIR": pod.TEMPORARY_DIRECTORY})
    _add(variables, {pod.ENV_ATTEMPT: str(number)})
    return variables


def _hub(run: FrozenRun) -> dict[str, dict[str, Any]]:
    """Return what huggingface_hub is told: the token, and where it keeps what it fetches."""
    model, variables = run.spec.model, dict[str, dict[str, Any]]()
    if model.cache is not None:
        _add(variables, {"HF_HUB_CACHE": pod.claim_path(model.cache.claim_name, model.cache.path or "")})
    if model.token_secret_ref is not None:
        secret = {"secretKeyRef": model.token_secret_ref.to_wire()}
        variables["HF_TOKEN"] = {"name": "HF_TOKEN", "valueFrom": secret}
    return variables


def _secrets(run: FrozenRun) -> dict[str, dict[str, Any]]:
    """Return the keys of Secrets that open the servers of datasets."""
    variables: dict[str, dict[str, Any]] = {}
    for dataset in itertools.chain.from_iterable(run.spec.all_datasets.values()):
        for secret, key, optional in dataset.uri.secret_keys if dataset.uri else ():
            reference = {"name": secret, "key": key, **({"optional": True} if optional else {})}
            name = pod.secret_variable(secret, key)
            variables[name] = {"name": name, "valueFrom": {"secretKeyRef": reference}}
    return variables


def _add(variables: dict[str, dict[str, Any]], values: dict[str, str]) -> None:
    for name, value in values.items():
        variables[name] = {"name": name, "value": value}


def _field(name: str, path: str) -> dict[str, Any]:
    # The API version is what the API server fills in: written out, a diff with what is stored stays empty.
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
