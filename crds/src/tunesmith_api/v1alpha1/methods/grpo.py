"""The block of method `grpo`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.methods.online import Online

_UNCLIPPED = {"epsilon": ("cispo", "sapo"), "epsilonHigh": ("sapo",), "delta": ("cispo", "sapo")}


class Grpo(Online):
    """Group relative policy optimisation (trl.GRPOTrainer; Shao et al. 2024, arXiv:2402.03300)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *Online.rules,
        *(
            Rule(
                f"!has(self.{field}) || !has(self.lossType) || !(self.lossType in {list(losses)})",
                f"{field} clips nothing in lossType {' and '.join(losses)}: remove it, or choose another lossType",
                f".{field}",
            )
            for field, losses in _UNCLIPPED.items()
        ),
        Rule(
            "!has(self.lossType) || self.lossType != 'cispo' || has(self.epsilonHigh)",
            "lossType: cispo clips the weights of tokens at epsilonHigh: set it, such as 5",
            ".epsilonHigh",
        ),
    )

    beta: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="Weight of the divergence from the reference model in the loss, per token. At 0 there is no"
            " reference model and no figure `kl`; 0.04 is the GRPO paper's, 0.001 that of DeepSeek-R1.",
        ),
    ] = 0.0
    loss_type: Annotated[
        Literal["dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo"],
        Field(
            description="How the loss adds up over tokens, in TRL's terms. `dapo`: mean over the tokens of a step;"
            " `grpo`: over the tokens of each completion, then over completions; `bnpo`: over the tokens of a"
            " micro-batch; `dr_grpo`: sum over maxCompletionLength; `cispo`: clips the weights, at epsilonHigh;"
            " `sapo`: a soft gate in place of clipping."
        ),
    ] = "dapo"
    scale_rewards: Annotated[
        Literal["group", "batch", "none"],
        Field(
            description="Divide advantages by the standard deviation of the rewards of the prompt's own completions, of"
            " the whole batch, or not."
        ),
    ] = "group"
    importance_sampling_level: Annotated[
        Literal["token", "sequence"],
        Field(
            description="Whether a token's probability is compared with that at generation, or the mean over its"
            " completion's tokens (GSPO, arXiv:2507.18071)."
        ),
    ] = "token"
    delta: Annotated[
        float | None,
        Field(
            gt=1,
            le=1000,
            description="Upper bound of that comparison also where epsilon has none, as when a bad token got likelier"
            " (two-sided clipping, arXiv:2505.07291). Absent: none.",
        ),
    ] = None
    top_entropy_quantile: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Learn from this share of the tokens only, those at which the model is least certain"
            " (arXiv:2506.01939).",
        ),
    ] = 1.0

    @property
    @override
    def compares(self) -> bool:
        return self.beta > 0
