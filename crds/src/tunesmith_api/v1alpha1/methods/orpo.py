"""The block of method `orpo`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.v1alpha1.methods.base import PadToMultipleOf
from tunesmith_api.v1alpha1.methods.pairs import Pairs


class Orpo(Pairs):
    """Odds ratio preference optimisation (trl.experimental.orpo; Hong et al. 2024, arXiv:2403.07691)."""

    learning_rate = 8e-6
    ignored = {
        "labelSmoothingFactor": "the odds of two answers have no targets to smooth: remove it",
        "averageTokensAcrossDevices": "the loss is a mean over each micro-batch, whatever its tokens: remove it",
    }

    beta: Annotated[
        float,
        Field(
            gt=0,
            le=100,
            description="Weight of the odds ratio beside the likelihood of prompt and chosen answer; the paper's"
            " lambda.",
        ),
    ] = 0.1
    pad_to_multiple_of: PadToMultipleOf = None
