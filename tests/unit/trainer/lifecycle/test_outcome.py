"""The last word of a pod: whose it is, and that it fits."""

import json
import os
import signal
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.progress import Outcome, Progress
from tunesmith_trainer.exchange import Result
from tunesmith_trainer.outcome import compose, encode, outcome_of

PROGRESS = Progress(attempt=3, pod_uid="pod", phase="training", current_step=40, checkpoint_steps=(20, 30))


def results(*codes: ExitCode) -> list[Result]:
    """Return the last words of processes, rank by rank, earliest first."""
    words = (outcome_of(PROGRESS, code, code.reason) for code in codes)
    return [Result(rank=rank, ended=float(rank), outcome=word) for rank, word in enumerate(words)]


@pytest.mark.parametrize(
    ("words", "status", "stopped", "code"),
    [
        ([ExitCode.SUCCESS, ExitCode.SUCCESS], 0, False, ExitCode.SUCCESS),
        ([ExitCode.SUCCESS], 0, True, ExitCode.SUCCESS),
        ([ExitCode.COLLECTIVE_FAILED, ExitCode.DATA_ERROR], 201, False, ExitCode.DATA_ERROR),
        ([ExitCode.COLLECTIVE_FAILED, ExitCode.TERMINATED], 201, False, ExitCode.TERMINATED),
        ([ExitCode.COLLECTIVE_FAILED], 201, False, ExitCode.COLLECTIVE_FAILED),
        ([ExitCode.COLLECTIVE_FAILED], 137, False, ExitCode.SIGKILLED),
        ([ExitCode.COLLECTIVE_FAILED], 137, True, ExitCode.TERMINATED),
        ([], 137, True, ExitCode.TERMINATED),
        ([], 137, False, ExitCode.SIGKILLED),
        ([], 1, False, ExitCode.INTERNAL_ERROR),
        ([], 0, False, ExitCode.INTERNAL_ERROR),
        ([], 11, False, ExitCode.DATA_ERROR),
        ([], 200, False, ExitCode.FENCED),
    ],
)
def test_the_cause_is_told_before_the_symptom(
    words: list[ExitCode], status: int, stopped: bool, code: ExitCode
) -> None:
    assert compose(PROGRESS, results(*words), status, stopped=stopped).exit_code == code


@pytest.mark.parametrize("code", [ExitCode.TERMINATED, ExitCode.COLLECTIVE_FAILED])
def test_the_checkpoints_are_told_whichever_process_ends_first(code: ExitCode) -> None:
    # Rank 0 alone knows them.
    word = outcome_of(PROGRESS.model_copy(update={"checkpoint_steps": ()}), code, code.reason)
    first = Result(rank=1, ended=0.0, outcome=word)
    outcome = compose(PROGRESS, [first], int(code), stopped=False)
    assert (outcome.exit_code, outcome.checkpoint_steps) == (code, (20, 30))


def test_a_signal_keeps_its_number() -> None:
    outcome = compose(PROGRESS, [], 128 + signal.SIGSEGV, stopped=False)
    assert outcome.exit_code == 139
    assert "SIGSEGV while training, at step 40" in outcome.message
    assert outcome.last_step == 40


def test_what_is_no_text_is_told_all_the_same() -> None:
    """Python keeps a byte that is no UTF-8 as half a character, which neither pydantic nor the kubelet takes."""
    name = os.fsdecode(b"caf\xe9.jsonl")
    outcome = Outcome.model_validate_json(encode(outcome_of(PROGRESS, ExitCode.DATA_ERROR, f"file {name}: empty")))
    assert outcome.message == r"file caf\udce9.jsonl: empty"


def test_a_stop_without_a_word_names_the_newest_checkpoint() -> None:
    outcome = compose(PROGRESS, [], 137, stopped=True)
    assert outcome.message == "Told to stop while training, at step 40; the newest checkpoint is that of step 30"


@pytest.mark.parametrize("letter", ["x", "ü", "\u0000", "🜚"])
def test_it_never_exceeds_what_the_kubelet_keeps(letter: str) -> None:
    metrics = {f"{'figure' * 9}_{number}": 1 / 3 for number in range(63)}
    fields: Any = PROGRESS.model_copy(
        update={"metrics": metrics | {"loss": 2.5}, "checkpoint_steps": tuple(range(900))}
    )
    message = encode(outcome_of(fields, ExitCode.DATA_ERROR, letter * 100_000))
    assert len(message) <= 4096
    outcome = Outcome.model_validate_json(message)
    assert outcome.metrics == {"loss": 2.5}
    assert outcome.checkpoint_steps[-1] == 899
    assert outcome.message.startswith(letter)
    assert outcome.message.endswith("…")
    assert json.loads(message)["podUid"] == "pod"
