"""What is minimised and how: learning rate, schedule, optimiser, regularisation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, remedy
from tunesmith_api.v1alpha1.training.optimizers import DEFAULT_OPTIMIZER, OPTIMIZER_RULES, OptimArgs, Optimizer
from tunesmith_api.v1alpha1.training.schedules import DEFAULT_SCHEDULE, SCHEDULE_RULES, LrSchedulerKwargs, Schedule
from tunesmith_api.v1alpha1.training.steps import WHOLE_OR_SHARE

OPTIMIZATION_RULES: tuple[Rule, ...] = (*SCHEDULE_RULES, *OPTIMIZER_RULES)


class Optimization(ApiModel):
    """What is minimised and how."""

    learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            le=10,
            description="Peak learning rate. Default, on full weights: pretrain 5e-4; sft 2e-5; reward 1e-5; orpo 8e-6;"
            " ppo 3e-6; dpo, kto, cpo, simpo, grpo and rloo 1e-6. With LoRA or an earlier job's adapter ten times that;"
            " peft.ia3 and peft.promptTuning tell theirs. Chosen for AdamW: Lion wants a third to a tenth of it, SGD"
            " far more.",
            json_schema_extra=remedy(
                "learningRate must be above 0 and at most 10, such as 2e-4: leave it out for the method's default"
            ),
        ),
    ] = None
    lr_scheduler_type: Annotated[Schedule, Field(description="Learning rate schedule.")] = DEFAULT_SCHEDULE
    lr_scheduler_kwargs: Annotated[LrSchedulerKwargs | None, Field(description="Arguments of the schedule.")] = None
    warmup_steps: Annotated[
        float,
        Field(
            ge=0,
            le=100_000_000,
            description="Optimiser steps over which the learning rate rises from zero; below 1 a share of all steps.",
            json_schema_extra=cel(WHOLE_OR_SHARE),
        ),
    ] = 0
    optim: Annotated[
        Optimizer,
        Field(
            description="Optimiser. adamw_torch, adamw_torch_fused (one kernel), adamw_8bit, paged_adamw_32bit and"
            " paged_adamw_8bit (bitsandbytes, on NVIDIA GPUs) are AdamW; adam has weightDecay in its gradients, not"
            " apart from them; sophia is Sophia-G and for sft and pretrain; muon steps the matrices of hidden layers,"
            " and AdamW all else."
        ),
    ] = DEFAULT_OPTIMIZER
    optim_args: Annotated[OptimArgs | None, Field(description="Arguments of the optimiser.")] = None
    weight_decay: Annotated[
        float, Field(ge=0, le=10, description="Weight decay; biases and the weights of norms have none.")
    ] = 0.0
    max_grad_norm: Annotated[
        float, Field(ge=0, le=1e6, description="Gradients are clipped to this norm; 0 clips nothing.")
    ] = 1.0
    label_smoothing_factor: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Share of the target that is spread over all tokens. Above 0 each step costs a second forward"
            " pass. sft and pretrain; dpo, cpo and simpo have a labelSmoothing of their own.",
        ),
    ] = 0.0
    neftune_noise_alpha: Annotated[
        float | None,
        Field(
            gt=0,
            le=1000,
            description="Scale of NEFTune's noise on the embeddings (Jain et al. 2023, arXiv:2310.05914), such as 5."
            " Absent: none. Not for methods that compare with a reference model or sample: dpo, kto, grpo, rloo, ppo.",
        ),
    ] = None
    average_tokens_across_devices: Annotated[
        bool,
        Field(
            description="Whether every token weighs the same, whichever process it is in; else every process does. sft"
            " and pretrain in several processes."
        ),
    ] = True
