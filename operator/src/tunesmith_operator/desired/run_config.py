"""The ConfigMap of a run: the frozen run, written once and never changed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tunesmith_api.naming import run_config_name
from tunesmith_api.pod import RUN_FILE_NAME
from tunesmith_api.run import FrozenRun
from tunesmith_operator.desired import metadata

if TYPE_CHECKING:
    from tunesmith_operator.inputs import Object

_NOT_PART_OF_THE_RUN = ("generation", "operatorVersion")


class UnreadableRunError(ValueError):
    """A run's ConfigMap does not hold a frozen run that this operator understands."""


def run_config(run: FrozenRun) -> dict[str, Any]:
    """Return the immutable ConfigMap that holds a frozen run."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": run_config_name(run.kind, run.name, run.run_id),
            "namespace": run.namespace,
            "labels": metadata.of_run(run),
            "ownerReferences": metadata.owners(run),
        },
        "immutable": True,
        "data": {RUN_FILE_NAME: json.dumps(run.to_wire(), separators=(",", ":"), sort_keys=True)},
    }


def read(config_map: Object) -> FrozenRun:
    """Return the frozen run in a ConfigMap.

    Raises:
        UnreadableRunError: It was written by an operator of another version, or by somebody else.
    """
    text = (config_map.get("data") or {}).get(RUN_FILE_NAME)
    if not isinstance(text, str):
        raise UnreadableRunError(f"it has no key {RUN_FILE_NAME}")
    try:
        return FrozenRun.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UnreadableRunError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def digest(run: FrozenRun) -> str:
    """Return what two runs share that train the same: who froze it and when, and runPolicy, make no difference."""
    wire = run.to_wire()
    for field in _NOT_PART_OF_THE_RUN:
        wire.pop(field, None)
    wire["spec"].pop("runPolicy", None)
    return "sha256:" + hashlib.sha256(json.dumps(wire, sort_keys=True).encode()).hexdigest()
