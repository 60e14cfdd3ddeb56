"""`spec.reporting`: what a run tells of itself, beside its progress."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, exactly_one_of, remedy

Prompt = Annotated[str, Field(min_length=1, max_length=4096)]


class Samples(ApiModel):
    """What the model writes to the same prompts as it learns; each time it takes the likeliest token (greedy)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("prompts", "fromEvaluation", remedy="prompts of your own, or a number of held-out rows"),
    )

    prompts: Annotated[
        tuple[Prompt, ...] | None,
        Field(
            min_length=1,
            max_length=16,
            description="Prompts. They go through the chat template when the training rows are chats.",
        ),
    ] = None
    from_evaluation: Annotated[
        int | None,
        Field(
            ge=1,
            le=16,
            description="Take the prompts of this many held-out rows, the first ones, and show how each goes on. Of"
            " rows without a prompt the first half is one, at most 64 tokens.",
        ),
    ] = None
    every_steps: Annotated[
        int,
        Field(
            ge=1,
            le=100_000_000,
            description="Optimiser steps between samples, beside before the first step and after the last.",
        ),
    ] = 100
    max_new_tokens: Annotated[
        int,
        Field(
            ge=1,
            le=4096,
            description="Longest completion, in tokens.",
            json_schema_extra=remedy("maxNewTokens must be between 1 and 4096, such as 64"),
        ),
    ] = 64


class Completions(ApiModel):
    """What the model answers in training, with what the rewards say of it: a table in the output."""

    every_steps: Annotated[
        int,
        Field(
            ge=1,
            le=100_000_000,
            description="Optimiser steps between what is kept, beside the first and the last. In a long run the table"
            " is thinned out again, to at most 200 steps.",
        ),
    ] = 10
    rows: Annotated[int, Field(ge=1, le=64, description="Completions kept of a step, at most.")] = 8


class StepRange(ApiModel):
    """A few optimiser steps."""

    start_step: Annotated[
        int,
        Field(
            ge=1,
            le=100_000_000,
            description="The first of them. The steps before it compile, allocate and fill caches.",
        ),
    ] = 3
    steps: Annotated[int, Field(ge=1, le=100, description="How many.")] = 2

    @property
    def last_step(self) -> int:
        """The last of them."""
        return self.start_step + self.steps - 1


class Wandb(ApiModel):
    """Weights & Biases, offline: `wandb sync` uploads the run's folder `wandb` from wherever there is a network."""

    project: Annotated[str, Field(min_length=1, max_length=128, description="Project of the run.")] = "tunesmith"


class Mlflow(ApiModel):
    """MLflow, in a file store: the run's folder `mlflow`, which `mlflow ui --backend-store-uri` shows."""

    experiment: Annotated[str, Field(min_length=1, max_length=128, description="Experiment of the run.")] = "tunesmith"


class Reporting(ApiModel):
    """What a run tells of itself, beside its progress. Report, model card and metrics are always written."""

    run_name: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=128,
            description="Name of the run in its report, its model card, W&B and MLflow. Default: the job's name, with"
            " `-<runId>` behind it unless runId is `1`.",
        ),
    ] = None
    samples: Annotated[
        Samples | None, Field(description="What the model writes during training. Absent means none.")
    ] = None
    completions: Annotated[
        Completions | None,
        Field(
            description="What is kept of the completions that a method learns from which samples them. Absent: what its"
            " defaults say."
        ),
    ] = None
    tensorboard: Annotated[
        bool, Field(description="Whether figures go to TensorBoard event files too, in the run's folder `tensorboard`.")
    ] = False
    wandb: Annotated[
        Wandb | None,
        Field(description="Write a Weights & Biases run as well; nothing is sent over the network. Absent means none."),
    ] = None
    mlflow: Annotated[
        Mlflow | None,
        Field(description="Write an MLflow run as well; nothing is sent over the network. Absent means none."),
    ] = None
    profile: Annotated[
        StepRange | None,
        Field(
            description="Run these steps of the first process under torch's profiler: the run's folder `profile` gets a"
            " Chrome trace and a table of operators. Absent means none."
        ),
    ] = None
    verify: Annotated[
        StepRange | None,
        Field(
            description="In these steps run each module's forward pass of the first process on the CPU in float64 as"
            " well, and report which modules differ most. Slow; takes eight bytes of host memory for a weight of the"
            " largest module. Absent means none."
        ),
    ] = None
