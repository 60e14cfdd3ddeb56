"""The block as a whole, and how long and on how much at a time to train."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, remedy
from tunesmith_api.v1alpha1.training.computation import COMPUTATION_RULES, Computation
from tunesmith_api.v1alpha1.training.extra_arguments import ExtraArguments, no_second_way
from tunesmith_api.v1alpha1.training.loading import LOADING_RULES, Loading
from tunesmith_api.v1alpha1.training.measuring import MEASURING_RULES, Measuring
from tunesmith_api.v1alpha1.training.optimization import OPTIMIZATION_RULES, Optimization


class Amount(ApiModel):
    """How long and on how much at a time to train."""

    num_train_epochs: Annotated[
        float | None,
        Field(
            gt=0,
            le=100000,
            description="Passes over the training rows. Default: 3, unless maxSteps is set.",
            json_schema_extra=remedy(
                "numTrainEpochs must be above 0 and at most 100000: leave it out for 3 passes, or use maxSteps"
            ),
        ),
    ] = None
    max_steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000_000,
            description="Optimiser steps to train. Absent means numTrainEpochs decides.",
            json_schema_extra=remedy(
                "maxSteps must be between 1 and 100000000: leave it out to train for numTrainEpochs passes"
            ),
        ),
    ] = None
    per_device_train_batch_size: Annotated[
        int, Field(ge=1, le=65536, description="Rows per process and micro-batch; of grpo and rloo completions.")
    ] = 8
    per_device_eval_batch_size: Annotated[
        int, Field(ge=1, le=65536, description="Rows per process in evaluation; of grpo and rloo completions.")
    ] = 8
    gradient_accumulation_steps: Annotated[
        int,
        Field(
            ge=1,
            le=65536,
            description="Micro-batches per optimiser step. The global batch is this times perDeviceTrainBatchSize times"
            " all processes.",
        ),
    ] = 1
    auto_find_batch_size: Annotated[
        bool,
        Field(
            description="Find the largest micro-batch that the device has memory for before the first step:"
            " perDeviceTrainBatchSize is the most that is tried, and what it is lowered by gradientAccumulationSteps"
            " rises, so that the global batch stays. What was found is told among the metrics. On GPUs, in one process."
        ),
    ] = False
    max_length: Annotated[
        int,
        Field(
            ge=8,
            le=1048576,
            description="Longest sequence in tokens; longer rows are truncated and counted. Pairs for reward that are"
            " longer are left out, as are prompts for grpo, rloo and ppo that leave a completion no room.",
        ),
    ] = 1024


_PARTS = (Amount, Optimization, Measuring, Loading, Computation)


class Training(Computation, Loading, Measuring, Optimization, Amount):
    """How long, how fast and on how much at a time to train."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.maxSteps) && has(self.numTrainEpochs))",
            "set maxSteps or numTrainEpochs, not both: each says how long to train",
            ".maxSteps",
        ),
        *OPTIMIZATION_RULES,
        *MEASURING_RULES,
        *LOADING_RULES,
        *COMPUTATION_RULES,
        no_second_way(name for part in _PARTS for name in part.model_fields),
    )

    extra_arguments: Annotated[
        ExtraArguments | None,
        Field(
            description="Arguments of the method's TRL config (SFTConfig, DPOConfig) that this API has no field for,"
            " named as TRL names them, such as eval_delay. A value is written as a string and read as the argument's"
            ' own type: "0.5", "10", "true"; a list as JSON. Checked against the installed TRL before training.'
        ),
    ] = None
