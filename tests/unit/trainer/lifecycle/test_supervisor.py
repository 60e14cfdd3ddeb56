"""The real supervisor: what it says, and with which code it ends, whatever becomes of the training processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun
from tunesmith_trainer import launcher
from tunesmith_trainer.supervisor import ENV_PORT, Supervisor

MakeRun = Callable[..., FrozenRun]
LONG = {"maxSteps": 100_000, "loggingSteps": 5}


def test_a_run_that_does_not_fit_the_image_is_an_invalid_spec(pods: Any, make_run: MakeRun) -> None:
    pods.write(make_run())
    file = pods.root / "etc/tunesmith/run.json"
    run = json.loads(file.read_text())
    run["spec"]["training"]["perplexity"] = 3
    file.write_text(json.dumps(run))
    outcome = pods.start(make_run()).wait()
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert "perplexity" in outcome.message
    assert (outcome.attempt, outcome.pod_uid) == (1, "pod-1")


def test_a_pod_that_was_replaced_ends_without_writing(pods: Any, make_run: MakeRun) -> None:
    from tunesmith_trainer.fence import Fence

    run = make_run()
    pods.write(run)
    Fence(pods.context(run, attempt=2, pod_uid="newer")).take()
    outcome = pods.start(run, attempt=1).wait()
    assert (outcome.exit_code, outcome.reason) == (ExitCode.FENCED, "Fenced")
    assert "Attempt 2" in outcome.message


def test_the_output_of_another_job_is_refused_before_anything_is_loaded(pods: Any, make_run: MakeRun) -> None:
    from tunesmith_trainer.manifests import seal
    from tunesmith_trainer.outputs import link_output

    path = {"output": {"claimName": "shared", "path": "results"}}
    other, run = make_run(name="other", **path), make_run(**path)
    pods.write(other)
    pods.context(other).run_directory.joinpath("output").mkdir(parents=True)
    seal(pods.context(other).run_directory / "output", "model", 1, pods.context(other))
    link_output(pods.context(other))
    pods.write(run)
    outcome = pods.start(run).wait()
    assert outcome.exit_code == ExitCode.OUTPUT_CONFLICT
    assert "FineTuneJob lab/other" in outcome.message
    assert "spec.output.overwrite" in outcome.message


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_stop_while_loading_ends_at_once(pods: Any, make_run: MakeRun, processes: int) -> None:
    run = make_run(numProcPerNode=processes)
    pods.write(run)
    pod = pods.start(run)
    pod.wait_until(lambda progress: progress.phase == "loading")
    children = pod.children()
    for child in children:
        (blocked,) = re.findall(r"SigBlk:\s*(\w+)", Path(f"/proc/{child}/status").read_text())
        assert not int(blocked, 16) & 1 << (signal.SIGTERM - 1)
    pod.terminate()
    outcome = pod.wait()
    assert (outcome.exit_code, outcome.last_step) == (ExitCode.TERMINATED, 0)
    assert "no checkpoint yet" in outcome.message
    # Killed they are; whoever adopted them has yet to bury them.
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Undying(subprocess.Popen[bytes]):
    """A process in the middle of a write that a hanging volume never ends: SIGKILL does not reach it."""

    made: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made.append(self)

    @override
    def poll(self) -> None:
        return None

    @override
    def wait(self, timeout: float | None = None) -> int:
        if timeout is None:
            return super().wait()
        raise subprocess.TimeoutExpired(self.args, timeout)


def test_a_process_that_takes_long_to_die_does_not_make_a_stop_a_crash(
    pods: Any, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    pods.write(run)
    supervisor = Supervisor(pods.context(run), {ENV_PORT: "0"})
    monkeypatch.setattr(launcher, "command", lambda *_: ["sleep", "60"])
    monkeypatch.setattr(subprocess, "Popen", Undying)
    timer = threading.Timer(0.5, supervisor.stop, (signal.SIGTERM, None))
    timer.start()
    outcome = supervisor.run()
    timer.join()
    for child in Undying.made:
        child.wait()
    assert (outcome.exit_code, outcome.reason) == (ExitCode.TERMINATED, "Terminated")


@pytest.mark.parametrize(
    ("arguments", "module", "message"),
    [
        ([], "supervisor", "before the training processes were started"),
        (["prepare"], "preparation.program", "while data and model were being checked"),
    ],
)
def test_a_stop_in_the_first_moment_is_not_lost(
    pods: Any, make_run: MakeRun, arguments: list[str], module: str, message: str
) -> None:
    program = f"""
import os, signal, sys

class Stop:
    def find_spec(self, name, *_):
        if name == "tunesmith_trainer.{module}":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Stop())
from tunesmith_trainer.__main__ import main
sys.exit(main())
"""
    pods.write(make_run())
    variables = {"ROOT": str(pods.root), "PROGRESS_PORT": "0", "ATTEMPT": "1", "POD_UID": "pod-1"}
    environment = os.environ | {f"TUNESMITH_{name}": value for name, value in variables.items()}
    ended = subprocess.run([sys.executable, "-c", program, *arguments], env=environment, timeout=60, check=False)
    assert ended.returncode == ExitCode.TERMINATED
    told = json.loads((pods.root / "dev/termination-log").read_text())
    assert told["message"] == f"Told to stop {message}"


def test_the_first_node_is_waited_for_and_a_stop_ends_that(pods: Any, make_run: MakeRun) -> None:
    run = make_run(numNodes=2)
    pods.write(run)
    pod = pods.start(run, PET_NODE_RANK="1", PET_MASTER_ADDR="there-is-no.such-node.invalid")
    pod.wait_until(lambda progress: progress.phase == "starting")
    pod.terminate()
    assert pod.wait().exit_code == ExitCode.TERMINATED


@pytest.mark.slow
def test_a_run_succeeds_and_is_followed_from_outside(pods: Any, make_run: MakeRun) -> None:
    run = make_run(training={"maxSteps": 300, "loggingSteps": 5}, evaluation={"splitRatio": 0.8})
    pods.write(run)
    pod = pods.start(run)
    progress = pod.wait_until(lambda progress: progress.current_step > 20 and progress.phase == "training")
    assert progress.total_steps == 300
    assert progress.estimated_remaining_seconds is not None
    assert progress.metrics["loss"] > 0
    metrics = pod.get("/metrics")
    assert (
        'tunesmith_training_figure{job="lines",kind="FineTuneJob",method="pretrain",name="loss",namespace="lab"}'
        in metrics
    )
    outcome = pod.wait()
    assert outcome.exit_code == ExitCode.SUCCESS
    assert (outcome.last_step, outcome.world_size, outcome.resumed_from_step) == (300, 1, 0)
    assert outcome.output is not None
    log = pod.log.read_text()
    assert "Warning" not in log
    assert "Traceback" not in log
    assert "it/s" not in log


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was(pods: Any, make_run: MakeRun) -> None:
    run = make_run(training=LONG, checkpoint={"saveSteps": 100_000})
    pods.write(run)
    pod = pods.start(run)
    pod.wait_until(lambda progress: progress.current_step >= 7)
    pod.terminate()
    first = pod.wait()
    assert first.exit_code == ExitCode.TERMINATED
    assert first.last_step >= 7
    assert first.checkpoint_steps == (first.last_step,)
    pod = pods.start(run, attempt=2)
    pod.wait_until(lambda progress: progress.current_step > first.last_step)
    pod.terminate()
    second = pod.wait()
    assert second.exit_code == ExitCode.TERMINATED
    assert second.resumed_from_step == first.last_step
    assert second.last_step > first.last_step


@pytest.mark.slow
def test_a_killed_training_process_leaves_its_last_whole_checkpoint(pods: Any, make_run: MakeRun) -> None:
    run = make_run(training=LONG, checkpoint={"saveSteps": 1, "keepLast": 3})
    pods.write(run)
    pod = pods.start(run)
    # It saves after every step: wherever it is hit, it is in the middle of something.
    pod.wait_until(lambda progress: max(progress.checkpoint_steps, default=0) >= 5)
    for child in pod.children():
        os.kill(child, signal.SIGKILL)
    outcome = pod.wait()
    assert (outcome.exit_code, outcome.reason) == (ExitCode.SIGKILLED, "Killed")
    assert "memory" in outcome.message
    newest = max(outcome.checkpoint_steps)
    pod = pods.start(run, attempt=2)
    progress = pod.wait_until(lambda progress: progress.resumed_from_step)
    assert progress.resumed_from_step >= newest
    pod.terminate()
    assert pod.wait().exit_code == ExitCode.TERMINATED


@pytest.mark.slow
def test_two_processes_train_as_one_and_stop_together(pods: Any, make_run: MakeRun) -> None:
    run = make_run(numProcPerNode=2, training=LONG, checkpoint={"saveSteps": 100_000})
    pods.write(run)
    pod = pods.start(run)
    progress = pod.wait_until(lambda progress: progress.current_step >= 5)
    assert progress.world_size == 2
    pod.terminate()
    first = pod.wait()
    assert (first.exit_code, first.world_size) == (ExitCode.TERMINATED, 2)
    step = pods.context(run).checkpoints_directory / f"step-{first.last_step:08d}"
    assert {"rng_state_0.pth", "rng_state_1.pth", "manifest.json"} <= {path.name for path in step.iterdir()}
    pod = pods.start(run, attempt=2)
    pod.wait_until(lambda progress: progress.current_step > first.last_step)
    workers = [child for child in pod.children() if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(workers[-1], signal.SIGKILL)
    second = pod.wait()
    # The others only lost it; the cause is told.
    assert (second.exit_code, second.resumed_from_step) == (ExitCode.SIGKILLED, first.last_step)


@pytest.mark.slow
def test_two_nodes_find_each_other(pods: Any, make_run: MakeRun) -> None:
    run = make_run(numNodes=2)
    pods.write(run)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"PET_MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    first = pods.start(run, PET_NODE_RANK="0", **shared)
    second = pods.start(run, pod_uid="pod-1-1", PET_NODE_RANK="1", **shared)
    assert second.process.wait(200) == 0
    assert first.process.wait(200) == 0
    record = json.loads((pods.context(run).run_directory / "output/run-record.json").read_text())
    assert record["worldSize"] == 2
