"""The block of method `rloo`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import override

from tunesmith_api.base import Rule, cel
from tunesmith_api.v1alpha1.methods.online import Online


class Rloo(Online):
    """REINFORCE leave-one-out (trl.RLOOTrainer; Ahmadian et al. 2024, arXiv:2402.14740)."""

    beta: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="What the divergence from the reference model costs, summed over a completion's tokens and"
            " taken off its reward. At 0 there is no reference model and no figure `kl`.",
        ),
    ] = 0.05
    normalize_advantages: Annotated[
        bool, Field(description="Whether the advantages of a generation batch get mean 0 and standard deviation 1.")
    ] = False
    reward_clip_range: Annotated[
        tuple[Annotated[float, Field(ge=-1e6, le=1e6)], ...] | None,
        Field(
            min_length=2,
            max_length=2,
            description="Least and greatest reward of a completion, such as [-1, 1]; what lies beyond counts as that."
            " Absent: no bounds.",
            json_schema_extra=cel(
                Rule(
                    "self.size() != 2 || self[0] < self[1]", "must be the least and the greatest reward, in that order"
                )
            ),
        ),
    ] = None

    @property
    @override
    def compares(self) -> bool:
        return self.beta > 0
