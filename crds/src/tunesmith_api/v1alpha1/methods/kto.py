"""The block of method `kto`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from tunesmith_api.base import remedy
from tunesmith_api.v1alpha1.methods.base import MethodBlock

Weight = Annotated[
    float,
    Field(
        gt=0,
        le=1000,
        json_schema_extra=remedy("a weight must be above 0 and at most 1000: leave out the rows that are not to count"),
    ),
]


class Kto(MethodBlock):
    """Kahneman-Tversky optimisation (trl.KTOTrainer; Ethayarajh et al. 2024, arXiv:2402.01306)."""

    formats = ("unpaired-preference", "preference")
    rows = "labelled rows, prompt, completion and label, or preference rows, which become two of these (no templates)"
    learning_rate = 1e-6
    ignored = {
        "labelSmoothingFactor": "the loss of labelled answers has no targets to smooth: remove it",
        "neftuneNoiseAlpha": "noise on the embeddings would disturb the reference model too: remove it",
        "averageTokensAcrossDevices": "the loss of labelled answers is a mean over rows, not over tokens: remove it",
        "trainSamplingStrategy": "the rows of a micro-batch stay together, whose answers tell how far the model has"
        " moved: they are drawn once, by dataSeed; remove it",
    }
    fewest_rows = 2
    has_reference = True
    takes_reference_model = True

    loss_type: Annotated[
        Literal["kto", "apo_zero_unpaired"],
        Field(
            description="The loss, by TRL's names. `kto` compares with how far the model has moved on average;"
            " `apo_zero_unpaired` (arXiv:2408.06266) with the reference alone, for good answers that are better than"
            " the model's own."
        ),
    ] = "kto"
    beta: Annotated[
        float,
        Field(gt=0, le=100, description="Strength of the pull towards the reference model; smaller moves further."),
    ] = 0.1
    desirable_weight: Annotated[
        Weight,
        Field(
            description="Weight of rows whose label is true. Times their number, it should be 1 to 4/3 times"
            " undesirableWeight times the number of the others; the run tells where it is not."
        ),
    ] = 1.0
    undesirable_weight: Annotated[Weight, Field(description="Weight of rows whose label is false.")] = 1.0
    precompute_ref_log_probs: Annotated[
        bool,
        Field(
            description="Ask the reference model about all rows before the first step, so that it takes neither time"
            " nor memory after that. A run that starts again asks again."
        ),
    ] = False

    @property
    @override
    def compares(self) -> bool:
        return not self.precompute_ref_log_probs
