"""The block of method `reward`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.base import Rule, remedy
from tunesmith_api.v1alpha1.methods.pairs import Pairs


class RewardModelling(Pairs):
    """Training a reward model on preferences (trl.RewardTrainer; Ouyang et al. 2022, arXiv:2203.02155)."""

    learning_rate = 1e-5
    ignored = {
        "labelSmoothingFactor": "the loss of preferences has no targets to smooth: remove it",
        "averageTokensAcrossDevices": "the loss of preferences is a mean over pairs, not over tokens: remove it",
    }
    splits = True
    task = "SEQ_CLS"
    takes_margins = True
    spec_rules = (
        Rule(
            "!has(self.peft) || !has(self.peft.promptTuning)",
            "a classifier finds the token to score by its id, which learnt embeddings have none of: use peft.lora, or"
            " remove peft",
            ".peft.promptTuning",
        ),
        Rule(
            "!has(self.peft) || !has(self.peft.lora) || !has(self.peft.lora.initLoraWeights)"
            " || !(self.peft.lora.initLoraWeights in ['pissa', 'olora'])",
            "the score head is trained whole beside the adapter, and an adapter of pissa or olora can not be converted"
            " back with it: use another initLoraWeights",
            ".peft.lora.initLoraWeights",
        ),
        Rule(
            "!has(self.reporting) || !has(self.reporting.samples)",
            "a reward model scores texts and writes none: remove samples",
            ".reporting.samples",
        ),
    )

    center_rewards_coefficient: Annotated[
        float | None,
        Field(
            gt=0,
            le=100,
            description="Weight of the squared sum of a pair's rewards in the loss, which keeps rewards around zero,"
            " such as 0.01 (arXiv:2312.09244, eq. 2). Absent means none.",
            json_schema_extra=remedy(
                "centerRewardsCoefficient must be above 0 and at most 100, such as 0.01: leave it out for none"
            ),
        ),
    ] = None
    disable_dropout: Annotated[
        bool,
        Field(
            description="Turn off the dropout of the base model, so that an answer's reward is not drawn while it is"
            " trained; that of the adapter is peft.lora.loraDropout."
        ),
    ] = True
