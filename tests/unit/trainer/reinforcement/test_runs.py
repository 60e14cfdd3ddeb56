"""Whole runs of method ppo, as in a pod: stopped and gone on with, and in two processes."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.progress import Outcome

Spec = Callable[..., dict[str, Any]]
Work = Callable[..., Outcome]
STEPS = 8
PER_ROLLOUT = 4
# What differs from run to run.
_TIMES = ("_runtime", "_per_second", "total_flos")
NAMES = {
    "objective/kl",
    "objective/entropy",
    "objective/non_score_reward",
    "objective/rlhf_reward",
    "objective/scores",
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "policy/entropy_avg",
    "loss/policy_avg",
    "loss/value_avg",
    "val/clipfrac_avg",
    "val/ratio",
    "val/explained_variance",
    "reward",
    "reward_std",
    "rewards/vowels/mean",
    "rewards/brief/mean",
    "completions/mean_length",
    "completions/clipped_ratio",
}


def figures(context: Any) -> dict[int, dict[str, float]]:
    """The figures of a finished run by step, less those about time."""
    record = json.loads((context.run_directory / "output/run-record.json").read_text())
    return {
        entry["step"]: {name: value for name, value in entry.items() if not name.endswith(_TIMES)}
        for entry in record["metrics"]
        if "loss" in entry
    }


@pytest.fixture
def whole(lab: Any, base: Any, ppo_spec: Spec, work: Work) -> dict[int, dict[str, float]]:
    """The figures of a run that was never stopped."""
    context = lab.context("whole", ppo_spec(peft={"lora": {"r": 4}}), base)
    outcome = work(context)
    assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
    assert outcome.metrics.keys() >= NAMES
    return figures(context)


@pytest.mark.slow
def test_a_run_that_is_resumed_between_rollouts_is_the_one_that_was_never_stopped(
    lab: Any, base: Any, ppo_spec: Spec, work: Work, whole: dict[int, dict[str, float]]
) -> None:
    context = lab.context("halved", ppo_spec(peft={"lora": {"r": 4}}), base)
    assert work(context, stop_after=PER_ROLLOUT).exit_code == ExitCode.TERMINATED
    (checkpoint,) = (context.run_directory / "checkpoints").glob("step-*")
    assert (checkpoint / "value_model.safetensors").is_file()
    outcome = work(context, 2)
    assert (outcome.exit_code, outcome.resumed_from_step) == (ExitCode.SUCCESS, PER_ROLLOUT), outcome.message
    resumed = figures(context)
    assert resumed.keys() == whole.keys() == set(range(1, STEPS + 1))
    for step, wanted in whole.items():
        assert resumed[step] == pytest.approx(wanted, abs=1e-5), step
    assert not list((context.run_directory / "output").rglob("value_model*"))


@pytest.mark.slow
def test_a_run_that_is_resumed_within_a_rollout_samples_the_rest_anew(
    lab: Any, base: Any, ppo_spec: Spec, work: Work, whole: dict[int, dict[str, float]]
) -> None:
    context = lab.context("halved", ppo_spec(peft={"lora": {"r": 4}}), base)
    stop = PER_ROLLOUT + 2
    assert work(context, stop_after=stop).last_step == stop
    outcome = work(context, 2)
    assert (outcome.exit_code, outcome.last_step) == (ExitCode.SUCCESS, STEPS), outcome.message
    resumed = figures(context)
    assert resumed.keys() == whole.keys()
    for step in range(1, stop + 1):
        assert resumed[step] == pytest.approx(whole[step], abs=1e-5), step
    assert "objective/scores" in resumed[stop + 1]
    assert "objective/scores" not in whole[stop + 1]
    assert resumed[stop + 1]["val/ratio"] == pytest.approx(1, abs=1e-5), "the policy of now has drawn it"


@pytest.mark.slow
def test_two_processes_hold_the_same_weights(lab: Any, base: Any, ppo_spec: Spec, train_in_two: Any) -> None:
    changes: dict[str, dict[str, Any]] = {"adapter": {"peft": {"lora": {"r": 4}}}, "full": {}}
    contexts = [
        lab.context(name, ppo_spec(numProcPerNode=2, training={"maxSteps": 6}, **change), base)
        for name, change in changes.items()
    ]
    for name, seen in zip(changes, train_in_two(*contexts), strict=True):
        assert seen["apart"] == pytest.approx(0, abs=1e-6), name
        assert len(seen["losses"]) == 6
