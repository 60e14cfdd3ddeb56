"""Data that can not be trained on: the job Fails once, with file, row and remedy instead of a traceback."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jobs
import pytest
from kube import Kubectl
from watching import Watched, condition

_GOOD = [json.dumps({"text": f"The number {number} is followed by the number {number + 1}."}) for number in range(5)]


def lines(broken: dict[int, bytes]) -> bytes:
    """Return a file of good rows, some of which are replaced by their index."""
    return b"\n".join(broken.get(index, row.encode()) for index, row in enumerate(_GOOD))


@dataclass(frozen=True)
class Case:
    """A broken file.

    Attributes:
        data: Its bytes.
        told: What the message must hold: the row, and what to do.
    """

    data: bytes
    told: tuple[str, ...]


CASES = {
    "broken-line": Case(lines({2: b'{"text": "It ends in the mid'}), ("line 3", "JSON")),
    "missing-column": Case(lines({3: b'{"txt": "It is called otherwise."}'}), ("line 4", "text", "row")),
    "empty-file": Case(b"", ("no row",)),
    "not-utf-8": Case(lines({3: b'{"text": "A caf\xe9 in Latin-1."}'}), ("line 4", "UTF-8")),
}


@pytest.fixture(scope="module")
def failed(shared_space: Kubectl, apply_shared: Callable[..., Watched]) -> dict[str, Watched]:
    """A job per broken file, all started at once."""
    binary = {f"{name}.jsonl": base64.b64encode(case.data).decode() for name, case in CASES.items()}
    broken = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "broken"}, "binaryData": binary}
    return {
        name: apply_shared(
            broken, jobs.pretrain(name, datasets=[jobs.dataset("broken", f"{name}.jsonl", format="text")])
        )
        for name in CASES
    }


@pytest.mark.parametrize("name", CASES)
def test_broken_data_fails_the_job_once_with_file_row_and_remedy(name: str, failed: dict[str, Watched]) -> None:
    status = failed[name].wait_failed(limit=240)
    for kind in ("Failed", "Stalled"):
        assert condition(status, kind)["reason"] == "DataError"
    ready = condition(status, "Ready")
    assert ready["status"] == "False"
    for part in (f"{name}.jsonl", *CASES[name].told):
        assert part in ready["message"]
    assert "Traceback" not in ready["message"]
    (attempt,) = status["attempts"]
    assert 0 < attempt["exitCode"] < 128
    assert attempt["result"] == "Failed"
    assert "output" not in status


def test_no_second_attempt_is_made(failed: dict[str, Watched], shared_space: Kubectl) -> None:
    for job in failed.values():
        job.wait_failed()
    names: list[Any] = [each["metadata"]["name"] for each in shared_space.list("pytorchjobs")]
    assert not [name for name in names if name.endswith("-2")]
