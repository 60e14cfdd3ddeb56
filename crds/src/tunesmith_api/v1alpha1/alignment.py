"""The spec of an AlignmentJob."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.methods import ALIGNMENT
from tunesmith_api.v1alpha1.methods.dpo import Dpo
from tunesmith_api.v1alpha1.methods.kto import Kto
from tunesmith_api.v1alpha1.methods.reward import RewardModelling
from tunesmith_api.v1alpha1.peft import reference_stays
from tunesmith_api.v1alpha1.spec import SPEC_RULES, JobSpec, method_rules
from tunesmith_api.v1alpha1.training.suitability import ALIGNMENT_RULES


class AlignmentJobSpec(JobSpec):
    """What to align, on which preferences, and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *SPEC_RULES,
        Rule(
            "!has(self.dataProcessing) || !has(self.dataProcessing.streaming) || !self.dataProcessing.streaming",
            "preferences are read before training: remove streaming",
            ".dataProcessing.streaming",
        ),
        *method_rules(ALIGNMENT),
        *ALIGNMENT_RULES,
        Rule(
            "!has(self.model.resumeFrom)",
            "a checkpoint does not hold the model that preferences are measured against: use model.fromJob",
            ".model.resumeFrom",
        ),
        Rule(
            "!has(self.model.architecture)",
            "an architecture has random weights and can not be aligned:"
            " pretrain it with a FineTuneJob and use model.fromJob",
            ".model.architecture",
        ),
        reference_stays(tuple(method for method, block in ALIGNMENT.items() if block.has_reference)),
    )

    method: Annotated[
        Literal["dpo", "kto", "reward"],
        Field(
            description="`dpo`: direct preference optimisation; `kto`: Kahneman-Tversky optimisation, on answers that"
            " are labelled good or bad; `reward`: a reward model, which scores texts."
        ),
    ]
    dpo: Annotated[Dpo | None, Field(description="Parameters of method `dpo`.")] = None
    kto: Annotated[Kto | None, Field(description="Parameters of method `kto`.")] = None
    reward: Annotated[RewardModelling | None, Field(description="Parameters of method `reward`.")] = None
