"""The block of method `dpo`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.methods.base import PadToMultipleOf
from tunesmith_api.v1alpha1.methods.pairs import Pairs

DpoLoss = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
LossWeight = Annotated[float, Field(gt=0, le=1000)]

_CHOSEN = "(has(self.lossType) ? self.lossType : ['sigmoid'])"
_SMOOTHED = ("sigmoid", "robust", "exo_pair", "aot", "aot_unpaired")
_SMOOTHED_ALWAYS = ("robust", "exo_pair")
_DIVERGING = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft")
_WHOLE = ("aot", "aot_unpaired", "sft")
# TRL refuses the first two; with the others its multiplication in place stops the backward pass.
_UNWEIGHTED = ("aot", "aot_unpaired", "hinge", "sft")


def _is_on(field: str) -> str:
    return f"(has(self.{field}) && self.{field})"


def _needs(field: str, other: str) -> Rule:
    """Return the rule that a field is set only where the switch is on that it belongs to."""
    return Rule(f"!has(self.{field}) || {_is_on(other)}", f"{field} belongs to {other}: set {other}: true", f".{field}")


class Dpo(Pairs):
    """Direct preference optimisation (trl.DPOTrainer; Rafailov et al. 2023, arXiv:2305.18290)."""

    learning_rate = 1e-6
    splits = True
    ignored = {
        "labelSmoothingFactor": "the loss of preferences has no targets to smooth: use the method's labelSmoothing",
        "neftuneNoiseAlpha": "noise on the embeddings would disturb the reference model too: remove it",
        "averageTokensAcrossDevices": "the loss of preferences is a mean over pairs, not over tokens: remove it",
    }
    has_reference = True
    takes_reference_model = True
    spec_rules = (
        Rule(
            f"!has(self.dpo) || !has(self.dpo.lossType) || !self.dpo.lossType.exists(loss, loss in {list(_WHOLE)})"
            " || !has(self.training) || !has(self.training.autoFindBatchSize) || !self.training.autoFindBatchSize",
            f"the losses {', '.join(_WHOLE)} look at a micro-batch as a whole: remove autoFindBatchSize, or choose"
            " others",
            ".training.autoFindBatchSize",
        ),
        Rule(
            "!has(self.dpo) || !has(self.dpo.syncRefModel) || !self.dpo.syncRefModel || !has(self.peft)",
            "with an adapter the reference is the base model itself, which can not follow the trained one:"
            " remove syncRefModel, or peft",
            ".dpo.syncRefModel",
        ),
        Rule(
            "!has(self.dpo) || !has(self.dpo.syncRefModel) || !self.dpo.syncRefModel || !has(self.referenceModel)",
            "a reference model of its own stays as it is: remove syncRefModel or referenceModel",
            ".dpo.syncRefModel",
        ),
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"{_CHOSEN}.exists(loss, loss != 'sft')",
            "the loss sft alone looks at the chosen answers only: add a loss of preferences, or use method: sft",
            ".lossType",
        ),
        Rule(
            f"!has(self.lossWeights) || self.lossWeights.size() == {_CHOSEN}.size()",
            "lossWeights weighs each loss of lossType: give as many weights as losses",
            ".lossWeights",
        ),
        Rule(
            "!has(self.labelSmoothing) || self.labelSmoothing == 0.0"
            f" || {_CHOSEN}.exists(loss, loss in {list(_SMOOTHED)})",
            f"labelSmoothing is known to the losses {', '.join(_SMOOTHED)}: remove it, or choose one of these",
            ".labelSmoothing",
        ),
        Rule(
            f"!{_CHOSEN}.exists(loss, loss in {list(_SMOOTHED_ALWAYS)})"
            " || (has(self.labelSmoothing) && self.labelSmoothing > 0.0)",
            "robust and exo_pair are made for labels that may be wrong: set labelSmoothing, such as 0.1 for robust and"
            " 0.001 for exo_pair",
            ".lossType",
        ),
        Rule(
            f"!has(self.discopopTau) || {_CHOSEN}.exists(loss, loss == 'discopop')",
            "discopopTau shapes the loss discopop: remove it, or add discopop to lossType",
            ".discopopTau",
        ),
        Rule(
            "!has(self.fDivergenceType) || self.fDivergenceType == 'reverse_kl'"
            f" || {_CHOSEN}.all(loss, loss in {list(_DIVERGING)})",
            f"other divergences than reverse_kl are known to the losses {', '.join(_DIVERGING)} alone: remove"
            " fDivergenceType, or choose among these",
            ".fDivergenceType",
        ),
        Rule(
            "!has(self.fAlphaDivergenceCoef)"
            " || (has(self.fDivergenceType) && self.fDivergenceType == 'alpha_divergence')",
            "fAlphaDivergenceCoef belongs to fDivergenceType: alpha_divergence; set that, or remove it",
            ".fAlphaDivergenceCoef",
        ),
        Rule(
            f"!{_is_on('useWeighting')} || !{_CHOSEN}.exists(loss, loss in {list(_UNWEIGHTED)})",
            f"useWeighting can not be combined with the losses {', '.join(_UNWEIGHTED)}: remove one of both",
            ".useWeighting",
        ),
        _needs("precomputeRefBatchSize", "precomputeRefLogProbs"),
        _needs("refModelMixupAlpha", "syncRefModel"),
        _needs("refModelSyncSteps", "syncRefModel"),
        Rule(
            f"!{_is_on('syncRefModel')} || !{_is_on('precomputeRefLogProbs')}",
            "a reference that follows the model can not be computed ahead: remove syncRefModel or"
            " precomputeRefLogProbs",
            ".precomputeRefLogProbs",
        ),
    )

    loss_type: Annotated[
        tuple[DpoLoss, ...],
        Field(
            min_length=1,
            max_length=15,
            description="The losses, by TRL's names; several are added up, weighed by lossWeights. `aot` and"
            " `aot_unpaired` compare the answers of a micro-batch with each other; `sft` is a mean over its tokens.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ("sigmoid",)
    loss_weights: Annotated[
        tuple[LossWeight, ...] | None,
        Field(
            min_length=1, max_length=15, description="Weight of each loss of lossType, in its order. Default: all 1."
        ),
    ] = None
    beta: Annotated[
        float,
        Field(
            gt=0,
            le=100,
            description="Strength of the pull towards the reference model; smaller moves further. The loss ipo calls it"
            " τ.",
        ),
    ] = 0.1
    label_smoothing: Annotated[
        float,
        Field(
            ge=0,
            lt=0.5,
            description="Assumed share of preference labels that are wrong: conservative DPO with the loss `sigmoid`,"
            " and what the losses `robust`, `exo_pair`, `aot` and `aot_unpaired` make of it. Other losses beside these"
            " do not listen to it.",
        ),
    ] = 0.0
    f_divergence_type: Annotated[
        Divergence,
        Field(description="How the distance to the reference model is measured (f-DPO, arXiv:2309.16240)."),
    ] = "reverse_kl"
    f_alpha_divergence_coef: Annotated[
        float, Field(gt=0, lt=1, description="Alpha of `alpha_divergence`; towards 1 it becomes reverse_kl.")
    ] = 0.5
    ld_alpha: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Weight of what the longer answer has beyond the length of the shorter one (LD-DPO,"
            " arXiv:2409.06411). Absent means 1: length counts in full.",
        ),
    ] = None
    use_weighting: Annotated[
        bool,
        Field(
            description="Weigh each pair by how likely the model finds its answers, so that pairs of another model's"
            " count less (WPO, arXiv:2406.11827)."
        ),
    ] = False
    discopop_tau: Annotated[
        float, Field(gt=0, le=100, description="Temperature of the loss `discopop` (arXiv:2406.08414).")
    ] = 0.05
    precompute_ref_log_probs: Annotated[
        bool,
        Field(
            description="Ask the reference model about all pairs before the first step, so that it takes neither time"
            " nor memory after that. A run that starts again asks again."
        ),
    ] = False
    precompute_ref_batch_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=65536,
            description="Pairs that the reference model is asked about at a time. Default: the per-device batch size of"
            " training or evaluation.",
        ),
    ] = None
    sync_ref_model: Annotated[
        bool,
        Field(
            description="Let the reference model follow the trained one (TR-DPO, arXiv:2404.09656). For full weights"
            " only."
        ),
    ] = False
    ref_model_mixup_alpha: Annotated[
        float,
        Field(gt=0, le=1, description="Share of the trained model in the reference model after each synchronisation."),
    ] = 0.6
    ref_model_sync_steps: Annotated[
        int, Field(ge=1, le=1_000_000, description="Optimiser steps from one synchronisation to the next.")
    ] = 512
    pad_to_multiple_of: PadToMultipleOf = None

    @property
    @override
    def compares(self) -> bool:
        return not self.precompute_ref_log_probs
