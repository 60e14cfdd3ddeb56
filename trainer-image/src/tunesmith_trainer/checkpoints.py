"""Checkpoints on the output claim: whole ones count, the newest verified one is resumed, old ones are pruned."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tunesmith_trainer.manifests import damage, read_manifest, seal, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.fence import Fence

_NAME = re.compile(r"^step-(\d{8,})$")
_FORMER = "former-"  # of a checkpoint that is saved again
_PULSE_SECONDS = 1.0
_log = logging.getLogger(__name__)


def step_of(folder: Path) -> int:
    """Return the step of a checkpoint's folder, -1 when it is none."""
    match = _NAME.match(folder.name)
    return int(match[1]) if match else -1


def folder_name(step: int) -> str:
    """Return the name of the checkpoint of a step."""
    return f"step-{step:08d}"


def is_whole(folder: Path) -> bool:
    """Return whether a checkpoint's every file is as its manifest says."""
    manifest = read_manifest(folder)
    wrong = "its manifest is gone" if manifest is None else damage(folder, manifest)
    if wrong is not None:
        _log.warning("checkpoint %s is passed over: %s", folder.name, wrong)
    return wrong is None


def sealed(directory: Path) -> list[Path]:
    """Return the checkpoints that have a manifest, oldest first."""
    if not directory.is_dir():
        return []
    folders = [folder for folder in directory.iterdir() if step_of(folder) >= 0 and read_manifest(folder)]
    return sorted(folders, key=step_of)


def newest_whole(directory: Path) -> Path | None:
    """Return the newest checkpoint whose every file is as its manifest says, None when there is none."""
    return next((folder for folder in reversed(sealed(directory)) if is_whole(folder)), None)


def remove_leftovers(context: RunContext) -> None:
    """Remove what earlier attempts began to write and never finished; only after the fence was taken.

    A checkpoint that was set aside for another one of its step, which never came, counts again.
    """
    for former in context.checkpoints_directory.glob(f".attempt-*/{_FORMER}*"):
        target = context.checkpoints_directory / former.name.removeprefix(_FORMER)
        if not target.exists() and is_whole(former):
            former.replace(target)
    for folder in [*context.checkpoints_directory.glob(".attempt-*"), *context.run_directory.glob("*.tmp-*")]:
        shutil.rmtree(folder, ignore_errors=True)


def discard_newer(directory: Path, step: int) -> None:
    """Remove the checkpoints after a step: they failed verification, and would be taken for the newest when pruning."""
    for folder in sealed(directory):
        if step_of(folder) > step:
            shutil.rmtree(folder)


class CheckpointWriter:
    """Makes a folder that the trainer has just saved into a checkpoint that counts; rank 0 has one.

    Hashing and syncing go on in a thread of their own while training continues; the next commit waits for the last.
    """

    def __init__(self, context: RunContext, fence: Fence, pulse: Callable[[], None]) -> None:
        """Make a writer.

        Args:
            context: The run.
            fence: Asked before a checkpoint counts.
            pulse: Called now and then while training waits for a commit, as a sign of life.
        """
        self._context = context
        self._fence = fence
        self._pulse = pulse
        spec = context.run.spec
        self._keeps_best = spec.training.load_best_model_at_end or spec.checkpoint.save_strategy == "best"
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def commit(self, saved: Path, step: int, best: int | None = None) -> None:
        """Begin to make a saved folder count.

        Args:
            saved: The folder, in this attempt's staging folder; nothing writes to it any more.
            step: The optimiser step it was saved at.
            best: The step of the best checkpoint, which is kept however old it is where the spec asks for it.

        Raises:
            Fenced: The run belongs to another pod; found by this commit's check or the last one's.
        """
        self.wait()
        self._fence.check()
        self._thread = threading.Thread(target=self._run, args=(saved, step, best), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the commit under way, and raise what stopped it."""
        while self._thread:
            self._thread.join(_PULSE_SECONDS)
            self._pulse()
            if not self._thread.is_alive():
                self._thread = None
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure

    def settle(self) -> bool:
        """Return whether a commit has ended since the last call, without waiting for one.

        Raises:
            Fenced: The run belongs to another pod.
        """
        if self._thread is None or self._thread.is_alive():
            return False
        self.wait()
        return True

    def steps(self) -> tuple[int, ...]:
        """Return the steps of all checkpoints that count, ascending."""
        return tuple(step_of(folder) for folder in sealed(self._context.checkpoints_directory))

    def _run(self, saved: Path, step: int, best: int | None) -> None:
        try:
            self._commit(saved, step, best)
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`, on the training thread
            self._failure = error

    def _commit(self, saved: Path, step: int, best: int | None) -> None:
        seal(saved, "checkpoint", step, self._context)
        directory = self._context.checkpoints_directory
        target = directory / folder_name(step)
        self._fence.check()
        # A step may be saved again when its evaluation, at the end of an epoch, is better than all before.
        former = self._set_aside(target, _FORMER) if target.exists() else None
        saved.replace(target)
        sync_directory(directory)
        if former is not None:
            shutil.rmtree(former, ignore_errors=True)
        for folder in sealed(directory)[: -self._context.run.spec.checkpoint.keep_last]:
            if not self._keeps_best or step_of(folder) != best:
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Remove a checkpoint: away first, in one step, as half a one must never look like a whole one."""
        shutil.rmtree(self._set_aside(folder, "pruned-"), ignore_errors=True)

    def _set_aside(self, folder: Path, prefix: str) -> Path:
        return folder.replace(self._context.staging_directory / f"{prefix}{folder.name}")
