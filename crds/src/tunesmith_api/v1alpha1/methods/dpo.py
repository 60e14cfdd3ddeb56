"""The block of method `dpo`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.v1alpha1.methods.base import LearningRates, MethodBlock


class Dpo(MethodBlock):
    """Direct preference optimisation (trl.DPOTrainer; Rafailov et al. 2023, arXiv:2305.18290)."""

    formats = ("preference",)
    rows = "preference rows: prompt, chosen, rejected (no templates)"
    learning_rates = LearningRates(full=1e-6, lora=1e-5, ia3=1.5e-4, prompt_tuning=1.5e-3)
    splits = True
    ignored = {
        "labelSmoothingFactor": "the loss of preferences has no targets to smooth: use dpo.labelSmoothing",
        "neftuneNoiseAlpha": "noise on the embeddings would disturb the reference model too: remove it",
        "averageTokensAcrossDevices": "the loss of preferences is a mean over pairs, not over tokens: remove it",
    }
    has_reference = True
    takes_reference_model = True

    beta: Annotated[
        float,
        Field(gt=0, le=100, description="Strength of the pull towards the reference model; smaller moves further."),
    ] = 0.1
    label_smoothing: Annotated[
        float, Field(ge=0, lt=0.5, description="Assumed share of preference labels that are wrong (conservative DPO).")
    ] = 0.0
