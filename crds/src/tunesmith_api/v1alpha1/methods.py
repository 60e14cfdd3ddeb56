"""One parameter block per method, named as the method; only the chosen method's block may be present."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.base import ApiModel


class Pretrain(ApiModel):
    """Causal language modelling on plain text (trl.SFTTrainer over text rows)."""

    packing: Annotated[
        bool,
        Field(
            description="Cut the concatenated texts into windows of training.maxLength tokens, so that no token is"
            " padding."
        ),
    ] = True


class Sft(ApiModel):
    """Supervised fine-tuning (trl.SFTTrainer)."""

    completion_only_loss: Annotated[
        bool | None,
        Field(
            description="Whether only the completion's tokens carry loss. Default: true for prompt-completion and"
            " instruction rows, false for text and messages; true is refused for rows that have no completion."
        ),
    ] = None


class Dpo(ApiModel):
    """Direct preference optimisation (trl.DPOTrainer; Rafailov et al. 2023, arXiv:2305.18290)."""

    beta: Annotated[
        float,
        Field(gt=0, le=100, description="Strength of the pull towards the reference model; smaller moves further."),
    ] = 0.1
    label_smoothing: Annotated[
        float, Field(ge=0, lt=0.5, description="Assumed share of preference labels that are wrong (conservative DPO).")
    ] = 0.0
