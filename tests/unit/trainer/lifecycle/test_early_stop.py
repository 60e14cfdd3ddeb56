"""Early stopping: it ends the run with a whole output, and a resumed run stops where an undisturbed one would."""

from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun
from tunesmith_trainer.ending import read_lines

MakeRun = Callable[..., FrozenRun]
# What is learnt at this rate is too little for the threshold: no evaluation after the first counts as an improvement.
SPEC: dict[str, Any] = {
    "training": {
        "evalStrategy": "steps",
        "evalSteps": 2,
        "learningRate": 1e-5,
        "maxSteps": 12,
        "perDeviceEvalBatchSize": 1000,
    },
    "evaluation": {"splitRatio": 0.8},
    "checkpoint": {"saveSteps": 100},
    "earlyStopping": {"patience": 3, "threshold": 1.0},
}


@pytest.mark.slow
def test_it_ends_the_run_and_a_resumed_one_at_the_same_step(pods: Any, work: Any, make_run: MakeRun) -> None:
    whole, halved = make_run(uid="whole", **SPEC), make_run(uid="halved", **SPEC)
    pods.write(whole)
    outcome = work(whole)
    # The first evaluation, after step 2, is the best of all, and the three after it are no better.
    assert (outcome.exit_code, outcome.last_step, outcome.total_steps) == (ExitCode.SUCCESS, 8, 12)
    assert outcome.checkpoint_steps == (8,)
    record = work.record(whole)
    assert (record["steps"], record["plannedSteps"]) == (8, 12)
    assert "stopped early, of 12" in (work.folder(whole) / "output/report.html").read_text(encoding="utf-8")
    pods.write(halved)
    # The order to stop is looked for at the end of each step, and once in each evaluation: after step 5.
    assert work(halved, stop_after=7).last_step == 5
    resumed = work(halved, attempt=2)
    assert (resumed.exit_code, resumed.last_step) == (ExitCode.SUCCESS, 8)


@pytest.mark.slow
def test_an_evaluation_that_is_made_up_for_ends_the_run(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(**SPEC)
    pods.write(run)
    # In the evaluation of step 8, which is the one that early stopping ends the run at.
    stopped = work(run, stop_after=12)
    assert (stopped.exit_code, stopped.last_step) == (ExitCode.TERMINATED, 8)
    resumed = work(run, attempt=2)
    assert (resumed.exit_code, resumed.last_step) == (ExitCode.SUCCESS, 8)
    assert work.record(run)["steps"] == 8


@pytest.mark.slow
def test_a_run_that_died_after_it_stopped_trains_no_step_more(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(**SPEC)
    pods.write(run)
    assert work(run).last_step == 8
    folder = work.folder(run)
    (folder / "output").rename(folder / "output.tmp-1")
    outcome = work(run, attempt=2)
    assert (outcome.exit_code, outcome.resumed_from_step, outcome.last_step) == (ExitCode.SUCCESS, 8, 8)


@pytest.mark.slow
def test_a_model_that_learns_is_not_stopped(pods: Any, work: Any, make_run: MakeRun) -> None:
    training = SPEC["training"] | {"learningRate": 1e-2, "maxSteps": 6}
    run = make_run(**SPEC | {"training": training, "earlyStopping": {"patience": 1, "threshold": 0}})
    pods.write(run)
    assert work(run).last_step == 6


@pytest.mark.slow
def test_two_processes_stop_together_and_one_of_them_writes_samples(pods: Any, work: Any, make_run: MakeRun) -> None:
    samples = {"prompts": ["In the year"], "everySteps": 4, "maxNewTokens": 4}
    run = make_run(**SPEC, numProcPerNode=2, reporting={"samples": samples})
    pods.write(run)
    outcome = pods.start(run).wait()
    assert (outcome.exit_code, outcome.last_step, outcome.world_size) == (ExitCode.SUCCESS, 8, 2)
    written = read_lines(work.folder(run) / "output/samples.jsonl")
    assert [sample["step"] for sample in written] == [0, 4, 8]
