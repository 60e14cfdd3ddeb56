"""Whatever happens ends with an exit code and a message that says what to do."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun
from tunesmith_trainer.errors import TrainerError, as_trainer_error, is_disk_full, is_failed_save

FULL = Path("/dev/full")  # every write to it fails with ENOSPC


def test_a_full_disk_is_known_by_its_number() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        FULL.write_text("text")
    assert as_trainer_error(caught.value, world_size=1).exit_code == ExitCode.DISK_FULL


def test_torch_does_not_say_why_it_could_not_save() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.save({"weight": torch.zeros(100_000)}, FULL)
    assert is_failed_save(caught.value)
    # It may have been something else: whether the claim is full is asked of the claim.
    assert not is_disk_full(caught.value)


def test_a_full_disk_is_known_from_the_words_of_safetensors() -> None:
    from safetensors import SafetensorError

    error = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert as_trainer_error(error, world_size=1).exit_code == ExitCode.DISK_FULL


def test_a_full_claim_is_named_with_its_free_bytes(
    pods: Any, work: Any, make_run: Callable[..., FrozenRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_trainer.fence import Fence

    run = make_run()
    pods.write(run)

    def full(_: Fence) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(work.folder(run) / "attempts"))

    # A volume can not be filled here without filling the machine's.
    monkeypatch.setattr(Fence, "take", full)
    outcome = work(run)
    assert outcome.exit_code == ExitCode.DISK_FULL
    assert "claim lines-ftj (" in outcome.message
    assert "bytes are free" in outcome.message
    assert "checkpoint.keepLast" in outcome.message


def test_a_lost_process_is_a_failed_collective_only_where_there_are_several() -> None:
    error = RuntimeError("[../third_party/gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:6512")
    assert as_trainer_error(error, world_size=2).exit_code == ExitCode.COLLECTIVE_FAILED
    assert as_trainer_error(error, world_size=1).exit_code == ExitCode.INTERNAL_ERROR


def test_what_nobody_expected_names_its_place_and_shows_no_traceback() -> None:
    with pytest.raises(KeyError) as caught:
        os.environ["TUNESMITH_NOT_SET"]
    known = as_trainer_error(caught.value, world_size=1)
    assert known.exit_code == ExitCode.INTERNAL_ERROR
    assert str(known).startswith("KeyError: 'TUNESMITH_NOT_SET' (")
    assert "\n" not in str(known)


def test_our_own_errors_stay_as_they_are() -> None:
    error = TrainerError("as it is")
    assert as_trainer_error(error, world_size=4) is error
