"""Learning rate schedules, and which of their arguments each one takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule

Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "warmup_stable_decay",
    "reduce_lr_on_plateau",
]
DEFAULT_SCHEDULE: Schedule = "linear"
Ramp = Literal["linear", "cosine", "1-sqrt"]

SCHEDULE_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "linear": {},
    "cosine": {"num_cycles": 0.5},
    "cosine_with_restarts": {"num_cycles": 1},
    "cosine_with_min_lr": {"num_cycles": 0.5, "min_lr": None, "min_lr_rate": None},
    "polynomial": {"lr_end": 1e-7, "power": 1.0},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": None},
    "warmup_stable_decay": {
        "num_decay_steps": None,
        "warmup_type": "linear",
        "decay_type": "cosine",
        "min_lr_ratio": 0.0,
        "num_cycles": 0.5,
    },
    "reduce_lr_on_plateau": {"factor": 0.1, "patience": 10, "threshold": 1e-4, "cooldown": 0, "min_lr": 0.0},
}
"""The arguments of each schedule, with their defaults; None: absent unless set."""


class LrSchedulerKwargs(ApiModel):
    """Arguments of the schedule; each is for the schedules its description names."""

    num_cycles: Annotated[
        float | None,
        Field(
            gt=0,
            le=10_000,
            description="Waves of the cosine. Default: 0.5 (falling once) for cosine, cosine_with_min_lr and the cosine"
            " decay of warmup_stable_decay. Of cosine_with_restarts the number of restarts, a whole number."
            " Default: 1.",
        ),
    ] = None
    min_lr: Annotated[
        float | None,
        Field(
            ge=0,
            le=10,
            description="Learning rate that cosine_with_min_lr ends at, and that reduce_lr_on_plateau stops"
            " at. Default: 0 for reduce_lr_on_plateau.",
        ),
    ] = None
    min_lr_rate: Annotated[
        float | None,
        Field(ge=0, le=1, description="What cosine_with_min_lr ends at as a share of learningRate, in place of minLr."),
    ] = None
    lr_end: Annotated[
        float | None, Field(ge=0, le=10, description="Learning rate that polynomial ends at. Default: 1e-7.")
    ] = None
    power: Annotated[
        float | None, Field(gt=0, le=100, description="Exponent of polynomial; 1 is linear. Default: 1.")
    ] = None
    timescale: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000_000,
            description="Steps after which inverse_sqrt has fallen to 1/√2, counted from the end of the warm-up."
            " Default: warmupSteps, or 10000 without a warm-up.",
        ),
    ] = None
    num_decay_steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000_000,
            description="Steps at the end over which warmup_stable_decay falls. Required there.",
        ),
    ] = None
    warmup_type: Annotated[Ramp | None, Field(description="How warmup_stable_decay rises. Default: linear.")] = None
    decay_type: Annotated[Ramp | None, Field(description="How warmup_stable_decay falls. Default: cosine.")] = None
    min_lr_ratio: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Share of learningRate that warmup_stable_decay begins and ends at. Default: 0.",
        ),
    ] = None
    factor: Annotated[
        float | None,
        Field(gt=0, lt=1, description="What reduce_lr_on_plateau multiplies the rate by. Default: 0.1."),
    ] = None
    patience: Annotated[
        int | None,
        Field(
            ge=0,
            le=1_000_000,
            description="Evaluations without improvement that reduce_lr_on_plateau lets pass. Default: 10.",
        ),
    ] = None
    threshold: Annotated[
        float | None,
        Field(
            ge=0,
            lt=1,
            description="Share by which the metric must improve to count for reduce_lr_on_plateau. Default: 1e-4.",
        ),
    ] = None
    cooldown: Annotated[
        int | None,
        Field(
            ge=0,
            le=1_000_000,
            description="Evaluations that reduce_lr_on_plateau waits after a reduction. Default: 0.",
        ),
    ] = None


_CHOSEN = f"(has(self.lrSchedulerType) ? self.lrSchedulerType : '{DEFAULT_SCHEDULE}')"


def _given(field: str) -> str:
    return f"(has(self.lrSchedulerKwargs) && has(self.lrSchedulerKwargs.{field}))"


def _belongs(name: str) -> Rule:
    """Return the rule that an argument is set only for the schedules that take it."""
    field = str(LrSchedulerKwargs.model_fields[name].alias)
    takers = [schedule for schedule, arguments in SCHEDULE_DEFAULTS.items() if name in arguments]
    return Rule(
        f"!{_given(field)} || {_CHOSEN} in {takers}",
        f"{field} is an argument of {', '.join(takers)}: remove it, or choose one of these as lrSchedulerType",
        f".lrSchedulerKwargs.{field}",
    )


SCHEDULE_RULES = (
    Rule(
        f"!({_CHOSEN} in ['constant', 'reduce_lr_on_plateau']) || !has(self.warmupSteps) || self.warmupSteps == 0.0",
        "the schedules constant and reduce_lr_on_plateau have no warm-up:"
        " use lrSchedulerType: constant_with_warmup or remove warmupSteps",
        ".warmupSteps",
    ),
    *(_belongs(name) for name in LrSchedulerKwargs.model_fields),
    Rule(
        f"{_CHOSEN} != 'cosine_with_min_lr' || {_given('minLr')} != {_given('minLrRate')}",
        "cosine_with_min_lr ends at a rate: set exactly one of minLr and minLrRate",
        ".lrSchedulerKwargs",
    ),
    Rule(
        f"!{_given('minLr')} || !has(self.learningRate) || self.lrSchedulerKwargs.minLr < self.learningRate",
        "minLr must be below learningRate: lower it",
        ".lrSchedulerKwargs.minLr",
    ),
    Rule(
        f"!{_given('lrEnd')} || !has(self.learningRate) || self.lrSchedulerKwargs.lrEnd < self.learningRate",
        "lrEnd must be below learningRate: lower it",
        ".lrSchedulerKwargs.lrEnd",
    ),
    Rule(
        f"{_CHOSEN} != 'cosine_with_restarts' || !{_given('numCycles')}"
        " || self.lrSchedulerKwargs.numCycles == double(int(self.lrSchedulerKwargs.numCycles))",
        "cosine_with_restarts restarts a whole number of times: set numCycles to one, such as 3",
        ".lrSchedulerKwargs.numCycles",
    ),
    Rule(
        f"{_CHOSEN} != 'warmup_stable_decay' || {_given('numDecaySteps')}",
        "warmup_stable_decay must know when to begin its decay:"
        " set lrSchedulerKwargs.numDecaySteps, such as a tenth of all steps",
        ".lrSchedulerKwargs",
    ),
    Rule(
        f"!{_given('numDecaySteps')} || !has(self.maxSteps)"
        " || double(self.lrSchedulerKwargs.numDecaySteps) + (!has(self.warmupSteps) ? 0.0"
        " : self.warmupSteps < 1.0 ? self.warmupSteps * double(self.maxSteps) : self.warmupSteps)"
        " <= double(self.maxSteps)",
        "warm-up and decay together are longer than maxSteps: lower warmupSteps or numDecaySteps",
        ".lrSchedulerKwargs.numDecaySteps",
    ),
    Rule(
        f"{_CHOSEN} != 'reduce_lr_on_plateau' || (has(self.evalStrategy) && self.evalStrategy != 'no')",
        "reduce_lr_on_plateau looks at an evaluated metric: set evalStrategy: steps or epoch",
        ".lrSchedulerType",
    ),
)
