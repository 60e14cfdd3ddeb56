"""The pod's program as a process: its last word, whatever ends it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import ResolvedModel

ROWS = [{"prompt": f"{number} + 1 = ", "completion": f"{number + 1}"} for number in range(6)]
Program = Callable[[list[str]], "subprocess.Popen[str]"]


@pytest.fixture
def start(lab: Any, model_folder: Path) -> Program:
    """Mounts a run and starts Python in its pod."""
    spec = {
        "method": "sft",
        "model": {"path": {"claim": "models", "path": "tiny"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {"maxLength": 32},
    }
    resolved = ResolvedModel.model_validate({"base": {"claim": "models", "path": "tiny"}})
    run = lab.context("job", spec, resolved).run
    for name, text in (("etc/tunesmith/run.json", json.dumps(run.to_wire())), ("dev/termination-log", "")):
        (lab.root / name).parent.mkdir(parents=True, exist_ok=True)
        (lab.root / name).write_text(text)
    pod = {"TUNESMITH_ROOT": str(lab.root), "TUNESMITH_ATTEMPT": "1", "TUNESMITH_POD_UID": "pod"}
    environment = os.environ | pod | {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    return lambda arguments: subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def last_word(lab: Any, process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return the termination message once the process has ended; it agrees with the exit code."""
    told, _ = process.communicate(timeout=120)
    message: dict[str, Any] = json.loads((lab.root / "dev/termination-log").read_bytes())
    assert message["exitCode"] == process.returncode, told
    assert (message["attempt"], message["podUid"]) == (1, "pod")
    return message


@pytest.mark.slow
def test_it_leaves_the_report(lab: Any, start: Program) -> None:
    message = last_word(lab, start(["-m", "tunesmith_trainer", "prepare"]))
    assert message["reason"] == "Succeeded"
    assert message["preparation"]["rows"] == len(ROWS)
    assert message["message"].startswith("6 rows to train on")


def test_it_says_so_when_it_is_told_to_stop(lab: Any, start: Program) -> None:
    process = start(["-m", "tunesmith_trainer", "prepare"])
    assert process.stdout is not None
    assert "checking data and model" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert last_word(lab, process)["reason"] == "Terminated"


def test_it_says_so_when_its_time_is_over_although_it_hangs(lab: Any, start: Program) -> None:
    hang = "import os, time; from tunesmith_trainer.preparation.program import end_after; end_after(0.1, os.environ)"
    message = last_word(lab, start(["-c", f"{hang}; time.sleep(60)"]))
    assert message["reason"] == "PreparationTimeout"
    assert "raise it" in message["message"]


def test_a_run_that_it_can_not_read_is_told(lab: Any, start: Program) -> None:
    (lab.root / "etc/tunesmith/run.json").write_text("{}")
    message = last_word(lab, start(["-m", "tunesmith_trainer", "prepare"]))
    assert message["reason"] == "InvalidSpec"
    assert "does not fit this trainer image" in message["message"]
