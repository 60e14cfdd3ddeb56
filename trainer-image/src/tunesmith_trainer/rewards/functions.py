"""Reward functions of the user's: called in a process of their own, within a bounded time."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.sources import configmap_file
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards.base import UnscoredError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from tunesmith_api.v1alpha1.data_sources import BatchFunction
    from tunesmith_trainer.data.sources import Mounts
    from tunesmith_trainer.rewards.base import Batch, Failures, Scorer, Scores

_START_SECONDS = 120.0


def function_reward(wanted: BatchFunction, field: str, mounts: Mounts) -> Scorer:
    """Return the reward that a function gives.

    Args:
        wanted: The spec's words.
        field: Their path in the spec, for messages.
        mounts: Where ConfigMaps are.

    Raises:
        DataError: The ConfigMap has no such key.
        InvalidSpec: The code can not be loaded, or has no such function.
    """
    file = configmap_file(wanted.config_map.name, wanted.config_map.key, mounts)
    process = _FunctionProcess([str(file.path), file.name, wanted.function, field])
    process.start()

    def score(batch: Batch, failures: Failures) -> Scores:
        try:
            return process.call(batch, wanted.timeout_seconds)
        except UnscoredError as error:
            failures.add(f"{wanted.function} of {file.name} {error}", completions=len(batch), detail=error.detail)
            return [None] * len(batch)

    return score


class _FunctionProcess:
    """The process of one function. One that hangs or crashes is replaced when it is next needed."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._connection: Connection | None = None

    def start(self) -> Connection:
        """Start it, and return what to talk through.

        Raises:
            InvalidSpec: The function can not be loaded.
        """
        ours, theirs = multiprocessing.Pipe()
        descriptor = theirs.fileno()
        command = [sys.executable, "-m", "tunesmith_trainer.rewards.worker", str(descriptor), *self._arguments]
        process = subprocess.Popen(command, pass_fds=(descriptor,))  # noqa: S603 - this interpreter
        theirs.close()
        self._end = weakref.finalize(self, _end, process, ours)
        try:
            answer = _received(ours, _START_SECONDS)
        except EOFError:
            answer = None
        if answer is None or "problem" in answer:
            self.end()
            _, name, _, field = self._arguments
            silent = f"{field}: {name} ends the process that loads it, or never ends to load; correct it"
            raise InvalidSpec(answer["problem"] if answer else silent)
        self._connection = ours
        return ours

    def end(self) -> None:
        """End it, whatever it is doing."""
        self._connection = None
        self._end()

    def call(self, batch: Batch, seconds: float) -> Scores:
        """Return what the function says of a batch.

        Raises:
            UnscoredError: It raises, takes too long, crashes or returns something else than figures.
        """
        request = pickle.dumps(
            batch.columns
            | {
                "prompts": batch.prompts,
                "completions": batch.completions,
                "completion_ids": batch.completion_ids,
            }
        )
        try:
            connection = self._connection or self.start()
            connection.send_bytes(request)
            answer = _received(connection, seconds)
        except (InvalidSpec, OSError, EOFError) as error:
            self.end()
            raise UnscoredError("ends its process", detail=str(error)) from error
        if answer is None:
            self.end()
            raise UnscoredError(f"takes longer than {seconds:g} s; make it faster or raise timeoutSeconds")
        if "problem" in answer:
            raise UnscoredError(answer["problem"], detail=answer.get("detail", ""))
        scores: Scores = answer["scores"]
        return scores


def _received(connection: Connection, seconds: float) -> dict[str, Any] | None:
    """Return an answer; None when there is none in time."""
    if not connection.poll(seconds):
        return None
    answer: dict[str, Any] = json.loads(connection.recv_bytes())
    return answer


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    connection.close()
    process.kill()
    process.wait()
