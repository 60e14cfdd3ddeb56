"""The logged learning rate is that of the schedule's formula."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.v1alpha1.training.schedules import SCHEDULE_DEFAULTS
from tunesmith_trainer.errors import InvalidSpec

RATE, STEPS, WARM = 0.01, 10, 3
ROWS = {
    "sft": [{"prompt": f"{a}=", "completion": " x"} for a in range(4)],
    "dpo": [{"prompt": f"{a}=", "chosen": " x", "rejected": " y"} for a in range(4)],
}
Formula = Callable[[int], float]


def risen(after: Formula) -> Formula:
    """Return a schedule that rises over the warm-up, and then is as told, by the steps since."""
    return lambda step: step / WARM if step < WARM else after(step - WARM)


def cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


LEFT = STEPS - WARM
# Schedule, its arguments, and its rate at a step as a share of the highest.
FORMULAS: dict[str, tuple[dict[str, Any], Formula]] = {
    "linear": ({}, risen(lambda step: 1 - step / LEFT)),
    "cosine": ({}, risen(lambda step: cosine(step / LEFT))),
    "cosine waves": ({"numCycles": 1.5}, risen(lambda step: cosine(3 * step / LEFT))),
    "cosine_with_restarts": ({"numCycles": 2}, risen(lambda step: cosine(2 * step / LEFT % 1))),
    "cosine_with_min_lr": ({"minLrRate": 0.1}, risen(lambda step: 0.1 + 0.9 * cosine(step / LEFT))),
    "cosine_with_min_lr absolute": ({"minLr": 0.002}, risen(lambda step: 0.2 + 0.8 * cosine(step / LEFT))),
    "polynomial": ({"power": 2.0, "lrEnd": 0.001}, risen(lambda step: 0.1 + 0.9 * (1 - step / LEFT) ** 2)),
    "constant_with_warmup": ({}, risen(lambda _: 1.0)),
    "inverse_sqrt": ({}, risen(lambda step: math.sqrt(WARM / (step + WARM)))),
    "inverse_sqrt slow": ({"timescale": 50}, risen(lambda step: math.sqrt(50 / (step + 50)))),
    "warmup_stable_decay": (
        {"numDecaySteps": 4, "decayType": "linear", "minLrRatio": 0.1, "warmupType": "cosine"},
        lambda step: (
            0.1 + 0.9 * (1 - cosine(step / WARM))
            if step < WARM
            else 1.0
            if step < 6
            else 0.1 + 0.9 * (1 - (step - 6) / 4)
        ),
    ),
    "warmup_stable_decay cosine": (
        {"numDecaySteps": 4, "numCycles": 1.0},
        risen(lambda step: 1.0 if step < 3 else cosine(2 * (step - 3) / 4)),
    ),
    "constant": ({}, lambda _: 1.0),
}


def train(lab: Any, base: Any, method: str, training: dict[str, Any], **more: Any) -> Any:
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS[method])],
        "training": {"maxLength": 32, "maxSteps": STEPS, "loggingSteps": 1, "learningRate": RATE} | training,
    }
    trainer = lab.build(lab.context(method, spec | more, base)).trainer
    trainer.train()
    return trainer


def logged(trainer: Any) -> list[float]:
    return [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]


def test_all_schedules_are_here() -> None:
    assert {name.split(maxsplit=1)[0] for name in FORMULAS} | {"reduce_lr_on_plateau"} == SCHEDULE_DEFAULTS.keys()


# A few that tell whether the arguments arrive stand for all of them in test-fast.
STANDING = {"cosine_with_restarts", "cosine_with_min_lr absolute", "warmup_stable_decay"}


@pytest.mark.methods("scheduler")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.representative if name in STANDING else ()) for name in FORMULAS]
)
def test_the_rate_follows_the_formula(lab: Any, base: Any, name: str) -> None:
    arguments, formula = FORMULAS[name]
    schedule = name.split(maxsplit=1)[0]
    training: dict[str, Any] = {"lrSchedulerType": schedule, "lrSchedulerKwargs": arguments}
    if schedule != "constant":
        training["warmupSteps"] = WARM
    rates = logged(train(lab, base, "sft", training))
    assert rates == pytest.approx([RATE * formula(place) for place in range(STEPS)], abs=1e-9)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_share_of_all_steps_is_warm_up(lab: Any, base: Any, method: str) -> None:
    rates = logged(train(lab, base, method, {"warmupSteps": 0.25}))
    assert rates[:4] == pytest.approx([0, RATE / 3, RATE * 2 / 3, RATE], abs=1e-9)


@pytest.mark.methods("scheduler")
@pytest.mark.representative
def test_a_plateau_lowers_the_rate(lab: Any, base: Any) -> None:
    training = {
        "lrSchedulerType": "reduce_lr_on_plateau",
        "lrSchedulerKwargs": {"factor": 0.5, "patience": 1, "threshold": 0.9, "cooldown": 1, "minLr": 0.004},
        "evalStrategy": "steps",
        "evalSteps": 1,
    }
    rates = logged(train(lab, base, "sft", training, evaluation={"splitRatio": 0.5}))
    # The first sets the mark, two are not 90 % better, one is cooled down, and it never goes below the least.
    assert rates == pytest.approx([RATE] * 3 + [RATE / 2] * 3 + [0.004] * 4, abs=1e-9)


@pytest.mark.parametrize(
    ("training", "told"),
    [
        (
            {"lrSchedulerType": "warmup_stable_decay", "lrSchedulerKwargs": {"numDecaySteps": 8}, "warmupSteps": 3},
            r"lrSchedulerType: warmup_stable_decay has 3 steps of warm-up and at least 8 of decay, and the run has 10",
        ),
        ({"lrSchedulerType": "polynomial", "warmupSteps": 10}, "has 10 steps of warm-up and at least 1 of decay"),
        (
            {"lrSchedulerType": "polynomial", "lrSchedulerKwargs": {"lrEnd": 0.5}},
            r"lrSchedulerKwargs.lrEnd is 0.5 and must be below the learning rate, 0.01",
        ),
        (
            {"lrSchedulerType": "cosine_with_min_lr", "lrSchedulerKwargs": {"minLr": 0.01}},
            r"lrSchedulerKwargs.minLr is 0.01 and must be below",
        ),
    ],
)
def test_what_can_not_be_is_refused(lab: Any, base: Any, training: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidSpec, match=told):
        train(lab, base, "sft", training)
