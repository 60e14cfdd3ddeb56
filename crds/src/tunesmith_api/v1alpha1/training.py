"""`spec.training`: the common arguments of transformers.TrainingArguments, in its terms."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, remedy

Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class Training(ApiModel):
    """How long, how fast and on how much at a time to train."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.maxSteps) && has(self.numTrainEpochs))",
            "set maxSteps or numTrainEpochs, not both: each says how long to train",
            ".maxSteps",
        ),
        Rule(
            "!has(self.evalSteps) || (has(self.evalStrategy) && self.evalStrategy == 'steps')",
            "evalSteps needs evalStrategy: steps",
            ".evalSteps",
        ),
        Rule(
            "!has(self.lrSchedulerType) || self.lrSchedulerType != 'constant'"
            " || !has(self.warmupSteps) || self.warmupSteps == 0",
            "the constant schedule has no warm-up: use lrSchedulerType: constant_with_warmup or remove warmupSteps",
            ".warmupSteps",
        ),
    )

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
        int, Field(ge=1, le=65536, description="Rows per process and micro-batch.")
    ] = 8
    per_device_eval_batch_size: Annotated[int, Field(ge=1, le=65536, description="Rows per process in evaluation.")] = 8
    gradient_accumulation_steps: Annotated[
        int,
        Field(
            ge=1,
            le=65536,
            description="Micro-batches per optimiser step. The global batch is this times perDeviceTrainBatchSize times"
            " all processes.",
        ),
    ] = 1
    learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            le=10,
            description="Peak learning rate of AdamW. Default: by method, pretrain 5e-4; sft 2e-5 on full weights, 2e-4"
            " with an adapter; dpo 1e-6 on full weights, 1e-5 with an adapter.",
            json_schema_extra=remedy(
                "learningRate must be above 0 and at most 10, such as 2e-4: leave it out for the method's default"
            ),
        ),
    ] = None
    lr_scheduler_type: Annotated[Scheduler, Field(description="Learning rate schedule.")] = "linear"
    warmup_steps: Annotated[
        int, Field(ge=0, le=100_000_000, description="Steps over which the learning rate rises from zero.")
    ] = 0
    weight_decay: Annotated[float, Field(ge=0, le=10, description="Decoupled weight decay of AdamW.")] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6, description="Gradients are clipped to this norm.")] = 1.0
    max_length: Annotated[
        int, Field(ge=8, le=1048576, description="Longest sequence in tokens; longer rows are truncated and counted.")
    ] = 1024
    gradient_checkpointing: Annotated[
        bool, Field(description="Recompute activations in the backward pass: less memory, more time.")
    ] = False
    seed: Annotated[int, Field(ge=0, le=4294967295, description="Seed of initialisation, data order and split.")] = 42
    logging_steps: Annotated[
        int, Field(ge=1, le=1_000_000, description="Optimiser steps between two logged metrics.")
    ] = 10
    eval_strategy: Annotated[
        Literal["no", "steps", "epoch"],
        Field(description="When to evaluate during training, beside before the first step and at the end."),
    ] = "no"
    eval_steps: Annotated[
        int | None, Field(ge=1, le=100_000_000, description="Steps between evaluations. Default: loggingSteps.")
    ] = None
