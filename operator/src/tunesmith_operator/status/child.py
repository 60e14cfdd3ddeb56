"""What is seen of the PyTorchJob of an attempt. Beside `desired/child.py` the only place that knows its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith_api import labels
from tunesmith_operator.desired import metadata
from tunesmith_operator.status import times

if TYPE_CHECKING:
    from datetime import datetime

    from tunesmith_operator.inputs import Object


@dataclass(frozen=True)
class Child:
    """One PyTorchJob."""

    kind: ClassVar[str] = "PyTorchJob"

    name: str
    uid: str
    owner_uid: str
    run_id: str
    attempt: int
    run_digest: str
    created: datetime | None
    deleting: bool
    failure: str
    """Why the training operator calls it failed; empty while it does not."""
    suspended: bool
    """Whether it must not run yet: Kueue holds it back until its queue has room."""


def read(obj: Object) -> Child:
    """Return what is seen of a PyTorchJob."""
    meta: Any = obj.get("metadata", {})
    marks = meta.get("labels") or {}
    attempt = str(marks.get(labels.ATTEMPT, ""))
    policy = (obj.get("spec") or {}).get("runPolicy") or {}
    conditions = (obj.get("status") or {}).get("conditions") or []
    return Child(
        name=str(meta.get("name", "")),
        uid=str(meta.get("uid", "")),
        owner_uid=metadata.owner_uid(obj),
        run_id=str(marks.get(labels.RUN_ID, "")),
        attempt=int(attempt) if attempt.isdigit() else 1,
        run_digest=str((meta.get("annotations") or {}).get(labels.RUN_DIGEST, "")),
        created=times.parse(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        failure=next(
            (
                str(entry.get("message") or "no reason is told")
                for entry in conditions
                if entry.get("type") == "Failed" and entry.get("status") == "True"
            ),
            "",
        ),
        suspended=bool(policy.get("suspend")),
    )
