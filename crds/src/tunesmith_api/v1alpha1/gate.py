"""What the output of another job must be worth before a job takes it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule
from tunesmith_api.v1alpha1.types import FigureName

Bound = Annotated[float, Field(ge=-1e12, le=1e12)]


class Gate(ApiModel):
    """Bounds on one of the other job's last figures; beyond them this job fails with GateNotMet before it starts."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.min) || has(self.max)", "a gate needs a bound: set min, max or both"),
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "no figure is at least min and at most max when min is above max: lower min or raise max",
            ".min",
        ),
    )

    metric: Annotated[
        FigureName,
        Field(
            description="Name of the figure, as the other job's status.progress.metrics has it. `eval_loss` and others"
            " of evaluations are those of the very model that was written."
        ),
    ]
    min: Annotated[Bound | None, Field(description="Least value that will do. Absent means any.")] = None
    max: Annotated[Bound | None, Field(description="Largest value that will do. Absent means any.")] = None
