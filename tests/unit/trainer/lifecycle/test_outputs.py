"""Whose output may be where."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.run import FrozenRun
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.errors import OutputConflict
from tunesmith_trainer.fence import Fence
from tunesmith_trainer.manifests import seal
from tunesmith_trainer.outputs import commit_output, existing_output, refuse_conflict

MakeRun = Callable[..., FrozenRun]
PLACE = {"claimName": "shared", "path": "results"}


@pytest.fixture
def finish(pods: Any) -> Callable[..., RunContext]:
    """Finishes a run with an output of one file."""

    def run(frozen: FrozenRun, content: str = "weights") -> RunContext:
        context: RunContext = pods.context(frozen)
        Fence(context).take()
        staged = context.run_directory / "output.tmp-1"
        staged.mkdir(parents=True)
        (staged / "model.safetensors").write_text(content)
        seal(staged, "model", 7, context)
        commit_output(context, Fence(context), staged)
        return context

    return run


def test_the_newest_run_is_linked(finish: Callable[..., RunContext], make_run: MakeRun) -> None:
    finish(make_run(run_id="1", output=PLACE), "old")
    context = finish(make_run(run_id="2", output=PLACE), "new")
    assert (context.job_directory / "output/model.safetensors").read_text() == "new"
    assert str((context.job_directory / "output").readlink()) == "runs/uid-1-2/output"
    assert (context.job_directory / "runs/uid-1-1/output/model.safetensors").read_text() == "old"


def test_the_same_job_made_anew_may_replace_it(finish: Callable[..., RunContext], make_run: MakeRun, pods: Any) -> None:
    finish(make_run(uid="before", output=PLACE))
    refuse_conflict(pods.context(make_run(uid="after", output=PLACE)))


def test_another_job_may_not(finish: Callable[..., RunContext], make_run: MakeRun, pods: Any) -> None:
    finish(make_run(name="first", output=PLACE))
    with pytest.raises(OutputConflict, match="claim shared, path results holds the output of FineTuneJob lab/first"):
        refuse_conflict(pods.context(make_run(name="second", output=PLACE)))


def test_another_job_may_when_it_says_so(finish: Callable[..., RunContext], make_run: MakeRun) -> None:
    finish(make_run(name="first", output=PLACE), "first")
    context = finish(make_run(name="second", uid="uid-2", output=PLACE | {"overwrite": True}), "second")
    assert (context.job_directory / "output/model.safetensors").read_text() == "second"


def test_a_job_that_finished_meanwhile_is_not_replaced(finish: Callable[..., RunContext], make_run: MakeRun) -> None:
    finish(make_run(name="first", output=PLACE), "first")
    with pytest.raises(OutputConflict):
        finish(make_run(name="second", uid="uid-2", output=PLACE))


def test_a_folder_of_somebody_else_is_left_alone(pods: Any, make_run: MakeRun) -> None:
    context = pods.context(make_run(output=PLACE | {"overwrite": True}))
    (context.job_directory / "output").mkdir(parents=True)
    with pytest.raises(OutputConflict, match="is a folder that no job wrote"):
        refuse_conflict(context)


def test_only_a_whole_output_is_one(finish: Callable[..., RunContext], make_run: MakeRun) -> None:
    context = finish(make_run(output=PLACE))
    manifest = existing_output(context)
    assert manifest is not None
    assert manifest.step == 7
    (context.run_directory / "output/model.safetensors").write_text("changed")
    assert existing_output(context) is None


def test_pods_of_the_group_can_read_it_under_any_uid(finish: Callable[..., RunContext], make_run: MakeRun) -> None:
    before = os.umask(0o077)
    try:
        context = finish(make_run(output=PLACE))
    finally:
        os.umask(before)
    for path in (context.run_directory / "output").rglob("model*"):
        assert path.stat().st_mode & 0o060 == 0o060
