"""What a job trains, in a few words for `kubectl get`; read from raw JSON, since the spec may be invalid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.naming import job_class
from tunesmith_api.v1alpha1.jobs import KINDS
from tunesmith_operator.status.conditions import shorten

if TYPE_CHECKING:
    from tunesmith_operator.inputs import Object

_LENGTH = 512


def model(job: Object) -> str | None:
    """Return the model of a job in short: a Hub id, a claim's folder, another job, or an architecture's size."""
    spec: Any = job.get("spec") or {}
    source: Any = spec.get("model") if isinstance(spec, dict) else None
    if not isinstance(source, dict):
        return None
    name, revision = source.get("name"), source.get("revision")
    if isinstance(name, str):
        return shorten(f"{name}@{revision}" if revision else name, _LENGTH)
    for field, text in _TEXTS.items():
        block = source.get(field)
        if isinstance(block, dict):
            return shorten(text(block), _LENGTH)
    return None


def _path(block: dict[str, Any]) -> str:
    return f"{block.get('claim')}:{block.get('path') or '/'}"


def _from_job(block: dict[str, Any]) -> str:
    kind = str(block.get("kind") or "FineTuneJob")
    short = job_class(kind).short if kind in {known.kind() for known in KINDS} else kind
    return f"{short}/{block.get('name')}"


def _architecture(block: dict[str, Any]) -> str:
    return f"new llama {block.get('numHiddenLayers')}x{block.get('hiddenSize')}"


def _resume_from(block: dict[str, Any]) -> str:
    return f"{_from_job(block)} step {block.get('step') or 'newest'}"


_TEXTS = {"path": _path, "fromJob": _from_job, "resumeFrom": _resume_from, "architecture": _architecture}
