"""Of all pods that ever ran an attempt, only the newest may write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import FrozenRun
from tunesmith_trainer.errors import Fenced
from tunesmith_trainer.exchange import Exchange
from tunesmith_trainer.fence import Fence
from tunesmith_trainer.reporter import Reporter

MakeRun = Callable[..., FrozenRun]


@pytest.fixture
def fence(pods: Any, make_run: MakeRun) -> Callable[[int, str], Fence]:
    """Fences of one run, by attempt and pod."""
    run = make_run()
    pods.write(run)
    return lambda attempt, pod: Fence(pods.context(run, attempt, pod))


def test_the_first_pod_takes_it_and_keeps_it(fence: Callable[[int, str], Fence]) -> None:
    mine = fence(1, "a")
    mine.take()
    mine.check()
    fence(1, "a").take()
    (attempt,) = mine.attempts()
    assert (attempt["number"], attempt["podUid"]) == (1, "a")


def test_another_pod_of_the_same_attempt_is_refused(fence: Callable[[int, str], Fence]) -> None:
    fence(1, "a").take()
    with pytest.raises(Fenced, match="belongs to pod a; this pod"):
        fence(1, "b").take()


def test_a_later_attempt_shuts_out_the_earlier_one(fence: Callable[[int, str], Fence]) -> None:
    earlier, later = fence(9, "a"), fence(10, "b")
    earlier.take()
    later.take()
    with pytest.raises(Fenced, match="Attempt 10 of this run has begun; attempt 9 ends"):
        earlier.check()
    with pytest.raises(Fenced):
        fence(9, "a").take()
    later.check()
    assert [attempt["number"] for attempt in later.attempts()] == [9, 10]


def test_a_token_that_was_cut_short_belongs_to_nobody(
    pods: Any, make_run: MakeRun, fence: Callable[[int, str], Fence]
) -> None:
    folder = pods.context(make_run()).run_directory / "attempts"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("")
    with pytest.raises(Fenced):
        fence(1, "a").take()
    fence(2, "b").take()
    assert json.loads((folder / "2.json").read_text())["podUid"] == "b"


def test_a_checkpoint_and_an_output_of_a_replaced_pod_do_not_count(
    pods: Any, make_run: MakeRun, fence: Callable[[int, str], Fence]
) -> None:
    from tunesmith_trainer.checkpoints import CheckpointWriter, sealed
    from tunesmith_trainer.outputs import commit_output

    context = pods.context(make_run(), 1, "a")
    mine = fence(1, "a")
    mine.take()
    writer = CheckpointWriter(context, mine, lambda: None)
    saved = context.staging_directory / "checkpoint-3"
    saved.mkdir(parents=True)
    fence(2, "b").take()
    with pytest.raises(Fenced):
        writer.commit(saved, 3)
    assert sealed(context.checkpoints_directory) == []
    with pytest.raises(Fenced):
        commit_output(context, mine, saved)
    assert not (context.job_directory / "output").exists()


def test_a_replaced_pod_discards_no_checkpoint_of_the_later_one(
    pods: Any, make_run: MakeRun, fence: Callable[[int, str], Fence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_trainer import run as module
    from tunesmith_trainer.checkpoints import CheckpointWriter, newest_whole, sealed

    context, later = pods.context(make_run(), 1, "a"), pods.context(make_run(), 2, "b")
    fence(1, "a").take()

    def verify(directory: Path) -> Path | None:
        found = newest_whole(directory)
        fence(2, "b").take()
        writer = CheckpointWriter(later, fence(2, "b"), lambda: None)
        (later.staging_directory / "checkpoint-3").mkdir(parents=True)
        writer.commit(later.staging_directory / "checkpoint-3", 3)
        writer.wait()
        return found

    monkeypatch.setattr(module, "newest_whole", verify)
    exchange = Exchange(tmp_path)
    with pytest.raises(Fenced):
        module.Run(context, exchange, Reporter(context, exchange))._resume_from()
    assert [folder.name for folder in sealed(context.checkpoints_directory)] == ["step-00000003"]
