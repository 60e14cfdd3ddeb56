"""The spec of a FineTuneJob."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.architecture import Architecture
from tunesmith_api.v1alpha1.methods import FINE_TUNING
from tunesmith_api.v1alpha1.methods.pretrain import Pretrain
from tunesmith_api.v1alpha1.methods.sft import Sft
from tunesmith_api.v1alpha1.peft import ROWS_STAY_APART
from tunesmith_api.v1alpha1.spec import SPEC_RULES, JobSpec, hub_rules, method_rules, or_default
from tunesmith_api.v1alpha1.training import Training
from tunesmith_api.v1alpha1.training.suitability import LANGUAGE_RULES

_MAX_LENGTH_FITS = Rule(
    "!has(self.model.architecture)"
    f" || {or_default('training.maxLength', Training, 'max_length')}"
    f" <= {or_default('model.architecture.maxPositionEmbeddings', Architecture, 'max_position_embeddings')}",
    "training.maxLength is above model.architecture.maxPositionEmbeddings: the model would not know these positions;"
    " lower one or raise the other",
    ".training.maxLength",
)


class FineTuneJobSpec(JobSpec):
    """What to train, on what, and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *SPEC_RULES,
        *hub_rules(),
        *method_rules(FINE_TUNING),
        ROWS_STAY_APART,
        Rule(
            "!has(self.model.resumeFrom) || !has(self.peft)",
            "what is trained is what the checkpoint holds, weights or adapter: remove peft, or use model.fromJob",
            ".peft",
        ),
        Rule(
            "!has(self.model.resumeFrom) || (has(self.training) && has(self.training.maxSteps)"
            " && (!has(self.model.resumeFrom.step) || self.training.maxSteps > self.model.resumeFrom.step))",
            "resumeFrom needs training.maxSteps, beyond the checkpoint's step: steps are counted from the first one of"
            " the other job",
            ".training.maxSteps",
        ),
        _MAX_LENGTH_FITS,
        *LANGUAGE_RULES,
        Rule(
            "self.method == 'pretrain' || !has(self.model.architecture)",
            "an architecture has random weights and must be pretrained:"
            " use method: pretrain, or model.path or model.fromJob",
            ".model.architecture",
        ),
        Rule(
            "self.method != 'pretrain' || !has(self.peft)",
            "pretraining trains full weights: remove peft or use method: sft",
            ".peft",
        ),
    )

    method: Annotated[
        Literal["sft", "pretrain"], Field(description="`sft`: supervised fine-tuning; `pretrain`: on plain text.")
    ]
    pretrain: Annotated[Pretrain | None, Field(description="Parameters of method `pretrain`.")] = None
    sft: Annotated[Sft | None, Field(description="Parameters of method `sft`.")] = None
