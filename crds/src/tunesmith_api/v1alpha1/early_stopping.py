"""`spec.earlyStopping`: end training when the held-out rows say that more of it makes nothing better."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.base import ApiModel


class EarlyStopping(ApiModel):
    """End training when evaluations get no better; see transformers.EarlyStoppingCallback."""

    patience: Annotated[
        int,
        Field(ge=1, le=1000, description="Evaluations in a row without an improvement after which training ends."),
    ] = 3
    threshold: Annotated[
        float,
        Field(ge=0, le=1e6, description="What the metric must change by, at least, to count as an improvement."),
    ] = 0.0
