"""Reading back the status that an earlier pass wrote."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from tunesmith_api.v1alpha1.status import JobStatus


def read(raw: Any) -> JobStatus:
    """Return a stored status; fields that today's model can not read are left out, as if never written."""
    if not isinstance(raw, dict):
        return JobStatus()
    try:
        return JobStatus.model_validate(raw)
    except ValidationError as error:
        unreadable = {detail["loc"][0] for detail in error.errors(include_url=False) if detail["loc"]}
    try:
        return JobStatus.model_validate({field: value for field, value in raw.items() if field not in unreadable})
    except ValidationError:
        return JobStatus()
