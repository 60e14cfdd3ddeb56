"""What a trainer reports, as the status shows it. Nothing in it is trusted."""

import math
from typing import Any

import pytest
import scenario

from tunesmith_api.progress import Progress, SpentSeconds
from tunesmith_api.v1alpha1.status import JobStatus, Timings
from tunesmith_operator.inputs import JobKey
from tunesmith_operator.status import progress

NOW = scenario.moment("2026-01-31T12:10:00Z")


def report(**fields: Any) -> Progress:
    return Progress.model_validate({"attempt": 1, "podUid": "p", "phase": "training", **fields})


@pytest.mark.parametrize(
    ("step", "total", "percentage"),
    [(0, 100, 0), (1, 3, 33), (299, 300, 99), (300, 300, 100), (301, 300, 100), (5, None, None)],
)
def test_percentage(step: int, total: int | None, percentage: int | None) -> None:
    told = progress.from_report(report(currentStep=step, totalSteps=total), NOW)
    assert told.progress_percentage == percentage


def test_a_total_of_zero_has_no_percentage() -> None:
    assert progress.from_report(report(totalSteps=0), NOW).progress_percentage is None


def test_metrics_have_four_digits_the_loss_first_and_no_figure_that_is_none() -> None:
    values = {"zeta": 1.0, "grad_norm": math.nan, "loss": 2.345678, "learning_rate": 0.000012345678, "inf": math.inf}
    told = progress.metrics(values)
    assert [(metric.name, metric.value) for metric in told] == [
        ("loss", "2.346"), ("learning_rate", "1.235e-05"), ("zeta", "1"),
    ]  # fmt: skip


def test_of_many_metrics_the_telling_ones_are_kept() -> None:
    told = progress.metrics(
        {f"completions/of {n}": 1.0 for n in range(62)} | {"reward": 0.5, "rewards/exact/mean": 1.0}
    )
    assert len(told) == 32
    assert [metric.name for metric in told[:2]] == ["reward", "rewards/exact/mean"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"loss": 0.69, "kl": 0.1}, "step 1, loss 0.69"),
        ({"loss": 0.01, "reward": 0.5}, "step 1, reward 0.5"),
        ({"kl": 0.1}, "step 1"),
    ],
)
def test_a_line_tells_the_reward_of_a_policy_that_has_one(values: dict[str, float], text: str) -> None:
    assert progress.describe(progress.from_report(report(currentStep=1, metrics=values), NOW)) == text


def test_an_eta_that_is_no_number_is_left_out() -> None:
    assert progress.from_report(report(estimatedRemainingSeconds=None), NOW).estimated_remaining_seconds is None
    huge = progress.from_report(report(estimatedRemainingSeconds=1e12), NOW)
    assert huge.estimated_remaining_seconds == 10**10


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (200000, "2 d")]
)
def test_time_left_in_words(seconds: float, text: str) -> None:
    told = progress.from_report(report(currentStep=1, totalSteps=2, estimatedRemainingSeconds=seconds), NOW)
    assert progress.describe(told) == f"step 1 of 2, about {text} left"


def test_timings_never_go_back() -> None:
    before = Timings(training=50.0, initialising=8.0)
    after = progress.timings(None, (), SpentSeconds(training=40.0, checkpointing=2.0), before)
    assert after == Timings(training=50.0, initialising=8.0, checkpointing=2.0)


def test_timings_of_nothing_are_none() -> None:
    assert progress.timings(None, (), SpentSeconds(), None) is None


def frozen_run() -> Any:
    job = scenario.whole_job(
        {
            "kind": "FineTuneJob",
            "metadata": {"name": "tiny"},
            "spec": {
                "method": "sft", "accelerator": "cpu", "model": {"path": {"claim": "c"}},
                "datasets": [{"claim": {"name": "c", "path": "p"}}],
            },
        }
    )  # fmt: skip
    key = JobKey("FineTuneJob", "team", "tiny")
    return scenario.frozen_run(key, job, scenario.PROFILES, version="1", jobs={})


def test_checkpoints_are_those_of_the_report_the_newest_kept() -> None:
    status = progress.with_checkpoints(JobStatus(), frozen_run(), report(checkpointSteps=list(range(100, 0, -1))))
    assert [record.step for record in status.checkpoints] == list(range(85, 101))
    assert status.checkpoints[0].path == "finetunejobs/tiny/runs/uid-of-tiny-1/checkpoints/step-00000085"


def test_a_trainer_that_has_not_looked_yet_takes_no_checkpoint_away() -> None:
    known = progress.with_checkpoints(JobStatus(), frozen_run(), report(checkpointSteps=[10]))
    assert progress.with_checkpoints(known, frozen_run(), report(phase="loading")) == known
    assert progress.with_checkpoints(known, frozen_run(), report()).checkpoints == ()
