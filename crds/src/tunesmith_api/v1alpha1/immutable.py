"""A started spec stays as it is, unless a new runId starts a fresh run: the rule, spelled field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.base import REMEDY, ApiModel, Rule

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def immutable_once_started(spec: type[ApiModel], default_run_id: str) -> Rule:
    """Return the rule that a started spec changes only together with runId; runPolicy is free.

    Spelled with has(): the cost of comparing optionals (`self.spec.?model`) counts as unbounded, and the API server
    then refuses the CRD. Specs are compared as wholes first: at a write of the status, which is what comes most often,
    that is all there is to do.

    Args:
        spec: The class of the spec.
        default_run_id: The run of a spec that names none.
    """
    same = " && ".join(
        _unchanged(info.alias or name, always_there=info.is_required() and REMEDY not in _extra(info))
        for name, info in spec.model_fields.items()
        if name not in {"run_policy", "run_id"}
    )
    now, before = _run_id("self", default_run_id), _run_id("oldSelf", default_run_id)
    return Rule(
        "self.spec == oldSelf.spec || !has(oldSelf.status) || !has(oldSelf.status.startTime)"
        f" || {now} != {before} || ({same})",
        "the spec of a started job is immutable but for runPolicy:"
        " set a new runId together with the change to start a fresh run",
        ".spec",
    )


def _run_id(of: str, default: str) -> str:
    return f"(has({of}.spec.runId) ? {of}.spec.runId : '{default}')"


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _unchanged(field: str, *, always_there: bool) -> str:
    if always_there:
        return f"self.spec.{field} == oldSelf.spec.{field}"
    return (
        f"(has(self.spec.{field}) ? has(oldSelf.spec.{field}) && self.spec.{field} == oldSelf.spec.{field}"
        f" : !has(oldSelf.spec.{field}))"
    )
