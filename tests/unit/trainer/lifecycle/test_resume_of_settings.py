"""A run that was stopped and went on is the run that was never stopped, whatever it trains with."""

from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun
from tunesmith_api.v1alpha1.training.optimizers import BITSANDBYTES_OPTIMIZERS, OPTIMIZER_DEFAULTS

MakeRun = Callable[..., FrozenRun]
ROWS = {"pretrain": {"packing": False}, "training": {"trainSamplingStrategy": "group_by_length"}}
# Settings that keep a state of their own, draw numbers, or look back at evaluations.
SETTINGS: dict[str, dict[str, Any]] = {
    **{
        optim: {"training": {"optim": optim, "optimArgs": {"estimationInterval": 2} if optim == "sophia" else None}}
        for optim in sorted(OPTIMIZER_DEFAULTS.keys() - BITSANDBYTES_OPTIMIZERS)
    },
    "rows by length": ROWS,
    "rows by length, in a later epoch": ROWS
    | {"training": {"trainSamplingStrategy": "group_by_length", "perDeviceTrainBatchSize": 32}},
    "own seed of the order": {"training": {"dataSeed": 5}},
    "loading processes": {"training": {"dataloaderNumWorkers": 1, "dataloaderPersistentWorkers": True}},
    "noise": {"training": {"neftuneNoiseAlpha": 5}},
    "plateau": {
        "training": {
            "lrSchedulerType": "reduce_lr_on_plateau",
            "lrSchedulerKwargs": {"patience": 0, "factor": 0.5, "threshold": 0.2},
            "evalStrategy": "epoch",
            "perDeviceTrainBatchSize": 32,
        },
        "evaluation": {"splitRatio": 0.8},
    },
    "counted tokens": {"training": {"includeNumInputTokensSeen": "all"}},
}


# One of each kind stands for the others in test-slow: of optimisers, of orders, of schedules.
STANDING = {"muon", "rows by length, in a later epoch", "plateau"}


@pytest.mark.methods("resume")
@pytest.mark.parametrize(
    "setting", [pytest.param(setting, marks=pytest.mark.slow if setting in STANDING else ()) for setting in SETTINGS]
)
def test_figures_and_rates_are_those_of_an_undisturbed_run(
    pods: Any, work: Any, make_run: MakeRun, setting: str
) -> None:
    whole, halved = make_run(uid="whole", **SETTINGS[setting]), make_run(uid="halved", **SETTINGS[setting])
    pods.write(whole)
    done = work(whole)
    assert done.exit_code == ExitCode.SUCCESS, done.message
    pods.write(halved)
    stopped = work(halved, stop_after=5)
    assert stopped.exit_code == ExitCode.TERMINATED, stopped.message
    resumed = work(halved, attempt=2)
    assert resumed.exit_code == ExitCode.SUCCESS, resumed.message
    figures = [
        {
            (name, entry["step"]): entry[name]
            for entry in work.record(run)["metrics"]
            for name in ("loss", "eval_loss", "learning_rate", "num_input_tokens_seen")
            if name in entry
        }
        for run in (whole, halved)
    ]
    assert figures[1] == pytest.approx(figures[0], abs=1e-6)
