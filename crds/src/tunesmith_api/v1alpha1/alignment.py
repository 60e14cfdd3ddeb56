"""The spec of an AlignmentJob."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.auxiliary import AuxiliaryModel, from_the_hub
from tunesmith_api.v1alpha1.datasets import READ_WHOLE
from tunesmith_api.v1alpha1.groups import group_rules
from tunesmith_api.v1alpha1.methods import ALIGNMENT
from tunesmith_api.v1alpha1.methods.cpo import Cpo
from tunesmith_api.v1alpha1.methods.dpo import Dpo
from tunesmith_api.v1alpha1.methods.grpo import Grpo
from tunesmith_api.v1alpha1.methods.kto import Kto
from tunesmith_api.v1alpha1.methods.orpo import Orpo
from tunesmith_api.v1alpha1.methods.ppo import Ppo
from tunesmith_api.v1alpha1.methods.reward import RewardModelling
from tunesmith_api.v1alpha1.methods.rloo import Rloo
from tunesmith_api.v1alpha1.methods.simpo import Simpo
from tunesmith_api.v1alpha1.rewards import REWARDS_FROM_THE_HUB, Reward, rewards_rules
from tunesmith_api.v1alpha1.spec import SPEC_RULES, JobSpec, hub_rules, method_rules, or_default
from tunesmith_api.v1alpha1.training.suitability import ALIGNMENT_RULES

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.data_sources import Function

_REFERENCED = [method for method, block in ALIGNMENT.items() if block.takes_reference_model]
_COMPARES = " || ".join(
    f"(self.method == '{method}' && {or_default(f'{method}.beta', block, 'beta')} > 0.0)"
    for method, block in ALIGNMENT.items()
    if block.has_reference
)
"""Whether the method compares with the base model whose adapter is switched off."""


class AlignmentJobSpec(JobSpec):
    """What to align, with which preferences or rewards, and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *SPEC_RULES,
        *hub_rules(from_the_hub("self.referenceModel"), REWARDS_FROM_THE_HUB),
        Rule(
            READ_WHOLE,
            "an alignment reads its rows before it trains: remove streaming",
            ".dataProcessing.streaming",
        ),
        *method_rules(ALIGNMENT),
        *group_rules(ALIGNMENT),
        *ALIGNMENT_RULES,
        *rewards_rules(ALIGNMENT),
        Rule(
            "!has(self.model.resumeFrom)",
            "an alignment starts from the output of another job, not from a checkpoint: use model.fromJob",
            ".model.resumeFrom",
        ),
        Rule(
            "!has(self.model.architecture)",
            "an architecture has random weights and can not be aligned:"
            " pretrain it with a FineTuneJob and use model.fromJob",
            ".model.architecture",
        ),
        Rule(
            f"!has(self.referenceModel) || self.method in {_REFERENCED}",
            f"this method compares with no reference model, only {', '.join(_REFERENCED)} can be given one:"
            " remove referenceModel",
            ".referenceModel",
        ),
        Rule(
            f"!({_COMPARES}) || !has(self.peft) || !has(self.peft.lora) || !has(self.peft.lora.bias)"
            " || self.peft.lora.bias == 'none' || has(self.referenceModel)",
            "bias trains weights of the base model, which this method compares with as they were: remove bias, or set"
            " referenceModel",
            ".peft.lora.bias",
        ),
    )

    method: Annotated[
        Literal["dpo", "kto", "reward", "orpo", "cpo", "simpo", "grpo", "rloo", "ppo"],
        Field(
            description="On preferences: `dpo`, direct preference optimisation; `kto`, Kahneman-Tversky optimisation,"
            " on answers that are labelled good or bad; `reward`, a reward model, which scores texts. On preferences"
            " without a reference model, experimental as TRL's experimental tree has them: `orpo`, odds ratio"
            " preference optimisation; `cpo`, contrastive preference optimisation; `simpo`, simple preference"
            " optimisation. On what `rewards` say of sampled completions: `grpo`, group relative policy optimisation;"
            " `rloo`, REINFORCE leave-one-out; `ppo`, proximal policy optimisation."
        ),
    ]
    dpo: Annotated[Dpo | None, Field(description="Parameters of method `dpo`.")] = None
    kto: Annotated[Kto | None, Field(description="Parameters of method `kto`.")] = None
    reward: Annotated[RewardModelling | None, Field(description="Parameters of method `reward`.")] = None
    orpo: Annotated[Orpo | None, Field(description="Parameters of method `orpo`, which is experimental.")] = None
    cpo: Annotated[Cpo | None, Field(description="Parameters of method `cpo`, which is experimental.")] = None
    simpo: Annotated[Simpo | None, Field(description="Parameters of method `simpo`, which is experimental.")] = None
    grpo: Annotated[Grpo | None, Field(description="Parameters of method `grpo`.")] = None
    rloo: Annotated[Rloo | None, Field(description="Parameters of method `rloo`.")] = None
    ppo: Annotated[Ppo | None, Field(description="Parameters of method `ppo`.")] = None
    reference_model: Annotated[
        AuxiliaryModel | None,
        Field(
            description="The model to compare with; it must have the vocabulary of `spec.model`. Absent means the model"
            " itself as it was before this job."
        ),
    ] = None
    rewards: Annotated[
        tuple[Reward, ...] | None,
        Field(
            min_length=1,
            max_length=16,
            description="What scores each completion; the weighted sum is learnt from, and each is logged on its own."
            " Methods that sample completions need at least one.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = None

    @property
    @override
    def functions(self) -> dict[str, Function]:
        found = {f"rewards[{index}].function": reward.function for index, reward in enumerate(self.rewards or ())}
        return super().functions | {field: function for field, function in found.items() if function is not None}

    @property
    @override
    def auxiliary_models(self) -> dict[str, AuxiliaryModel]:
        models = {"referenceModel": self.reference_model}
        models |= {f"rewards[{index}].model": reward.model for index, reward in enumerate(self.rewards or ())}
        return {path: model for path, model in models.items() if model is not None}
