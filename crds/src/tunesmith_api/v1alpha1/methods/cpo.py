"""The block of method `cpo`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.methods.base import PadToMultipleOf
from tunesmith_api.v1alpha1.methods.pairs import Pairs


class Cpo(Pairs):
    """Contrastive preference optimisation (trl.experimental.cpo; Xu et al. 2024, arXiv:2401.08417)."""

    learning_rate = 1e-6
    ignored = {
        "labelSmoothingFactor": "the loss of preferences has no targets to smooth: use the method's labelSmoothing",
        "averageTokensAcrossDevices": "the loss is a mean over each micro-batch, whatever its tokens: remove it",
    }

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labelSmoothing) || self.labelSmoothing == 0.0 || !has(self.lossType)"
            " || self.lossType == 'sigmoid'",
            "labelSmoothing is known to the loss sigmoid alone: remove it, or use lossType: sigmoid",
            ".labelSmoothing",
        ),
    )

    loss_type: Annotated[
        Literal["sigmoid", "hinge", "ipo"],
        Field(description="How the log-probabilities of two answers are compared; `ipo` takes their means per token."),
    ] = "sigmoid"
    beta: Annotated[
        float, Field(gt=0, le=100, description="Scale of the difference of two answers. The loss ipo calls it τ.")
    ] = 0.1
    label_smoothing: Annotated[
        float, Field(ge=0, lt=0.5, description="Assumed share of preference labels that are wrong.")
    ] = 0.0
    cpo_alpha: Annotated[
        float, Field(ge=0, le=1000, description="Weight of the likelihood of the chosen answer, beside the comparison.")
    ] = 1.0
    pad_to_multiple_of: PadToMultipleOf = None
