"""The block of method `simpo`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.v1alpha1.methods.base import PadToMultipleOf
from tunesmith_api.v1alpha1.methods.pairs import Pairs


class Simpo(Pairs):
    """Simple preference optimisation (trl.experimental.cpo, loss simpo; Meng et al. 2024, arXiv:2405.14734)."""

    learning_rate = 1e-6
    ignored = {
        "labelSmoothingFactor": "the loss of preferences has no targets to smooth: use the method's labelSmoothing",
        "averageTokensAcrossDevices": "the loss is a mean over each micro-batch, whatever its tokens: remove it",
    }

    beta: Annotated[
        float,
        Field(
            gt=0,
            le=100,
            description="Scale of the reward, which is an answer's mean log-probability per token. The paper's setting;"
            " TRL's own default, 0.1, is made for sums.",
        ),
    ] = 2.0
    simpo_gamma: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="Margin that the chosen answer's reward must have over the rejected one's. The paper advises"
            " about half of beta.",
        ),
    ] = 1.0
    cpo_alpha: Annotated[
        float, Field(ge=0, le=1000, description="Weight of the likelihood of the chosen answer (CPO-SimPO).")
    ] = 0.0
    label_smoothing: Annotated[
        float, Field(ge=0, lt=0.5, description="Assumed share of preference labels that are wrong.")
    ] = 0.0
    alpha: Annotated[
        float,
        Field(
            ge=-10,
            le=10,
            description="Shape of the reward (AlphaPO, arXiv:2501.03884): (1 - p^-alpha) / alpha of the mean"
            " probability p per token; 0 is its logarithm.",
        ),
    ] = 0.0
    pad_to_multiple_of: PadToMultipleOf = None
