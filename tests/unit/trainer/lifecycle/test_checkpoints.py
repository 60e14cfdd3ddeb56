"""A checkpoint counts when it is whole, and only then."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import FrozenRun
from tunesmith_trainer.checkpoints import (
    CheckpointWriter,
    discard_newer,
    newest_whole,
    remove_leftovers,
    sealed,
    step_of,
)
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.fence import Fence

MakeRun = Callable[..., FrozenRun]


@pytest.fixture
def context(pods: Any, make_run: MakeRun) -> RunContext:
    """A run that keeps two checkpoints."""
    run = make_run(checkpoint={"keepLast": 2})
    pods.write(run)
    context: RunContext = pods.context(run)
    return context


@pytest.fixture
def save(context: RunContext) -> Callable[[int], Path]:
    """Saves a checkpoint of some files and waits until it counts."""
    fence = Fence(context)
    fence.take()
    writer = CheckpointWriter(context, fence, lambda: None)

    def run(step: int) -> Path:
        saved = context.staging_directory / f"checkpoint-{step}"
        (saved / "nested").mkdir(parents=True)
        (saved / "model.safetensors").write_bytes(b"%08d" % step)
        (saved / "nested/rng_state_1.pth").write_bytes(b"random")
        writer.commit(saved, step)
        writer.wait()
        return context.checkpoints_directory / f"step-{step:08d}"

    return run


def test_the_newest_ones_are_kept_and_their_manifest_names_every_file(
    context: RunContext, save: Callable[[int], Path]
) -> None:
    folder = [save(step) for step in (5, 10, 15)][-1]
    assert [step_of(each) for each in sealed(context.checkpoints_directory)] == [10, 15]
    assert newest_whole(context.checkpoints_directory) == folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [file["path"] for file in manifest["files"]] == ["model.safetensors", "nested/rng_state_1.pth"]
    assert (manifest["step"], manifest["attempt"], manifest["artifact"]) == (15, 1, "checkpoint")
    assert list(context.staging_directory.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "has 5 bytes, not 8"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"87654321"), "has other contents"),
    ],
)
def test_a_damaged_one_is_passed_over(
    context: RunContext,
    save: Callable[[int], Path],
    damage: Callable[[Path], Any],
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    older, newer = save(5), save(10)
    damage(newer)
    assert newest_whole(context.checkpoints_directory) == older
    assert told in caplog.text
    discard_newer(context.checkpoints_directory, 5)
    assert sealed(context.checkpoints_directory) == [older]


def test_one_without_a_manifest_does_not_count(context: RunContext, save: Callable[[int], Path]) -> None:
    older, newer = save(5), save(10)
    (newer / "manifest.json").write_text('{"artifact": "chec')
    assert sealed(context.checkpoints_directory) == [older]


def test_leftovers_are_removed_and_whole_ones_stay(context: RunContext, save: Callable[[int], Path]) -> None:
    whole = save(5)
    for name in ("checkpoints/.attempt-1/checkpoint-7", "checkpoints/.attempt-3", "output.tmp-1", "base.tmp-2"):
        (context.run_directory / name).mkdir(parents=True, exist_ok=True)
    remove_leftovers(context)
    assert [path.name for path in context.checkpoints_directory.iterdir()] == [whole.name]
    assert sorted(path.name for path in context.run_directory.iterdir()) == ["attempts", "checkpoints"]


class Killed(BaseException):
    """The end of a process, wherever it is."""


@pytest.mark.parametrize("moment", ["before the new one is renamed in", "while the former one is removed"])
def test_a_step_that_is_saved_again_always_has_one_that_counts(
    context: RunContext, save: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder = save(5)
    rename = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if moment.startswith("before") and path.name == "checkpoint-5":
            raise Killed
        return rename(path, target)

    def rmtree(path: Path, **_: Any) -> None:
        (path / "model.safetensors").unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        patch.setattr("shutil.rmtree", rmtree)
        with pytest.raises(Killed):
            save(5)
    remove_leftovers(context)
    assert newest_whole(context.checkpoints_directory) == folder
    assert list(context.checkpoints_directory.iterdir()) == [folder]


def test_what_stops_a_commit_is_raised_on_the_training_thread(context: RunContext, save: Callable[[int], Path]) -> None:
    save(5)
    writer = CheckpointWriter(context, Fence(context), lambda: None)
    writer.commit(context.staging_directory / "checkpoint-6", 6)
    with pytest.raises(FileNotFoundError):
        writer.wait()
    assert not writer.settle()
    assert writer.steps() == (5,)
