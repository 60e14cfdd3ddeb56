"""What is logged and evaluated when, and what counts as best."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel
from tunesmith_api.v1alpha1.training.steps import WHOLE_OR_SHARE
from tunesmith_api.v1alpha1.types import FigureName

_EVALUATES = "has(self.evalStrategy) && self.evalStrategy != 'no'"
MEASURING_RULES = (
    Rule(
        "!has(self.evalSteps) || (has(self.evalStrategy) && self.evalStrategy == 'steps')",
        "evalSteps needs evalStrategy: steps",
        ".evalSteps",
    ),
    Rule(
        "!has(self.loggingSteps) || !has(self.loggingStrategy) || self.loggingStrategy == 'steps'",
        "loggingSteps needs loggingStrategy: steps",
        ".loggingSteps",
    ),
    Rule(
        f"!has(self.loadBestModelAtEnd) || !self.loadBestModelAtEnd || ({_EVALUATES})",
        "loadBestModelAtEnd needs evaluations to compare: set evalStrategy: steps or epoch",
        ".loadBestModelAtEnd",
    ),
    Rule(
        f"!has(self.metricForBestModel) || ({_EVALUATES})",
        "metricForBestModel is measured by evaluations: set evalStrategy: steps or epoch",
        ".metricForBestModel",
    ),
    Rule(
        f"!has(self.greaterIsBetter) || ({_EVALUATES})",
        "greaterIsBetter speaks of evaluations: set evalStrategy: steps or epoch",
        ".greaterIsBetter",
    ),
)


class Measuring(ApiModel):
    """What is logged and evaluated when, and what counts as best."""

    logging_strategy: Annotated[
        Literal["no", "steps", "epoch"],
        Field(description="When figures of training are logged, beside those of the first step."),
    ] = "steps"
    logging_steps: Annotated[
        float,
        Field(
            gt=0,
            le=1_000_000,
            description="Optimiser steps between two logged figures; below 1 a share of all steps.",
            json_schema_extra=cel(WHOLE_OR_SHARE),
        ),
    ] = 10
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        Field(description="From which level on Transformers writes to the pod's log."),
    ] = "warning"
    log_on_each_node: Annotated[
        bool, Field(description="Whether logLevel holds for the first process of every node, or of the first alone.")
    ] = True
    include_num_input_tokens_seen: Annotated[
        Literal["no", "all", "non_padding"],
        Field(description="Count and log the tokens trained on: all of them, or those that are not padding."),
    ] = "no"
    eval_strategy: Annotated[
        Literal["no", "steps", "epoch"],
        Field(description="When to evaluate during training, beside before the first step and at the end."),
    ] = "no"
    eval_steps: Annotated[
        float | None,
        Field(
            gt=0,
            le=100_000_000,
            description="Optimiser steps between evaluations; below 1 a share of all steps. Default: loggingSteps.",
            json_schema_extra=cel(WHOLE_OR_SHARE),
        ),
    ] = None
    load_best_model_at_end: Annotated[
        bool,
        Field(
            description="Whether the output is the best evaluated model, not the last. Each new best one is saved as a"
            " checkpoint, which is kept beside checkpoint.keepLast others."
        ),
    ] = False
    metric_for_best_model: Annotated[
        FigureName | None,
        Field(
            description="Evaluated figure that tells which model is best, such as loss or, for dpo, rewards/accuracies."
            " Default, where there are evaluations: loss; reward of methods that sample.",
        ),
    ] = None
    greater_is_better: Annotated[
        bool | None,
        Field(description="Whether more of the metric is better. Default: true unless its name ends in loss."),
    ] = None
