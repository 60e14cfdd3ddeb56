"""Pods without a cluster: the real supervisor and its training processes, over claims below a temporary folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.naming import job_class
from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.progress import Outcome, Progress
from tunesmith_api.resolve import resolve
from tunesmith_api.run import FrozenRun, ResolvedModel
from tunesmith_trainer.context import RunContext

sys.path.insert(0, str(Path(__file__).resolve().parent))

WAIT_SECONDS = 200.0
SENTENCES = tuple(
    f"In the year {1900 + number} the {noun} of the village was {state} by {amount} men and their {animal}."
    for number, (noun, state, amount, animal) in enumerate(
        (noun, state, amount, animal)
        for noun in ("bridge", "mill", "tower", "well")
        for state in ("built", "mended", "lost", "found")
        for amount in ("two", "three", "seven")
        for animal in ("horses", "dogs", "oxen")
    )
)
SPEC: dict[str, Any] = {
    "method": "pretrain",
    "model": {
        "architecture": {
            "hiddenSize": 16,
            "intermediateSize": 32,
            "numHiddenLayers": 1,
            "numAttentionHeads": 2,
            "numKeyValueHeads": 1,
            "maxPositionEmbeddings": 64,
        },
        "tokenizer": {"train": {"vocabSize": 300}},
    },
    "datasets": [{"configMap": {"name": "text", "key": "train.txt"}}],
    "training": {
        "maxSteps": 8,
        "maxLength": 32,
        "perDeviceTrainBatchSize": 4,
        "learningRate": 1e-2,
        "loggingSteps": 1,
        "lrSchedulerType": "linear",
    },
    "checkpoint": {"saveSteps": 4, "keepLast": 2},
}


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a nested dictionary with some of its leaves changed."""
    return base | {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in change.items()
    }


def frozen_run(name: str = "lines", uid: str = "uid-1", run_id: str = "1", **spec: Any) -> FrozenRun:
    """Return a tiny run; keyword arguments change its spec."""
    profile = AcceleratorProfile(name="cpu", device="cpu", image="trainer")
    parsed = job_class("FineTuneJob").model_fields["spec"].annotation.model_validate(merged(SPEC, spec))  # type: ignore[union-attr]  # a pydantic model
    run = FrozenRun(
        kind="FineTuneJob",
        namespace="lab",
        name=name,
        uid=uid,
        run_id=run_id,
        generation=1,
        spec=resolve("FineTuneJob", name, parsed, profile, trains_adapter=False),
        model=ResolvedModel(),
        profile=profile,
        operator_version="0",
    )
    return FrozenRun.model_validate_json(json.dumps(run.to_wire()))


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Pod:
    """One supervisor, running or ended."""

    process: subprocess.Popen[str]
    root: Path
    port: int
    log: Path

    def get(self, path: str) -> str:
        """Return what the pod answers at a path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as response:
            return str(response.read().decode())

    def progress(self) -> Progress | None:
        """Return the pod's progress, None while it does not answer."""
        try:
            return Progress.model_validate_json(self.get("/progress"))
        except OSError:
            return None

    def wait_until(self, holds: Callable[[Progress], Any]) -> Progress:
        """Wait for progress of a kind."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            progress = self.progress()
            if progress and holds(progress):
                return progress
            time.sleep(0.02)
        raise AssertionError(f"not reached, the pod's log says:\n{self.log.read_text()}")

    def wait(self) -> Outcome:
        """Wait for the end and return the termination message, which must agree with the exit code."""
        try:
            code = self.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            raise AssertionError(f"still running, the pod's log says:\n{self.log.read_text()}") from None
        message = (self.root / "dev/termination-log").read_bytes()
        assert len(message) <= 4096
        outcome = Outcome.model_validate_json(message)
        assert outcome.exit_code == code, self.log.read_text()
        return outcome

    def terminate(self) -> None:
        """Do what the kubelet does first."""
        self.process.send_signal(signal.SIGTERM)

    def children(self) -> list[int]:
        """Return the process ids of all descendants."""
        found, new = [], [self.process.pid]
        while new:
            listings = (Path(f"/proc/{pid}/task/{pid}/children") for pid in new)
            new = [int(child) for listing in listings if listing.exists() for child in listing.read_text().split()]
            found += new
        return found


@dataclass
class Pods:
    """Starts pods of runs whose claims are below one folder."""

    root: Path
    started: list[Pod] = field(default_factory=list)

    def write(self, run: FrozenRun, text: str = "\n\n".join(SENTENCES)) -> None:
        """Mount a run and its data."""
        files = {"etc/tunesmith/run.json": json.dumps(run.to_wire()), "tunesmith/configmaps/text/train.txt": text}
        for name, content in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(content, encoding="utf-8")
        (self.root / "dev").mkdir(exist_ok=True)
        self.context(run).claim_path(run.output.claim).mkdir(parents=True, exist_ok=True)

    def context(self, run: FrozenRun, attempt: int = 1, pod_uid: str = "pod-1") -> RunContext:
        """Return what a process of a pod knows."""
        return RunContext(run, attempt=attempt, pod_uid=pod_uid, root=self.root)

    def start(self, run: FrozenRun, attempt: int = 1, pod_uid: str | None = None, **environment: str) -> Pod:
        """Start a pod."""
        port = free_port()
        variables = {
            "TUNESMITH_ROOT": str(self.root),
            "TUNESMITH_PROGRESS_PORT": str(port),
            "TUNESMITH_ATTEMPT": str(attempt),
            "TUNESMITH_POD_UID": pod_uid or f"pod-{attempt}",
            "TUNESMITH_GRACE_SECONDS": "30",
            "PET_NNODES": str(run.spec.num_nodes),
            "PET_NPROC_PER_NODE": str(run.spec.num_proc_per_node),
            "PET_NODE_RANK": "0",
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
        }
        log = self.root / f"log-{attempt}-{len(self.started)}"
        (self.root / "dev/termination-log").unlink(missing_ok=True)
        with log.open("w") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "tunesmith_trainer"],
                env=os.environ | variables | environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                text=True,
            )
        pod = Pod(process, self.root, port, log)
        self.started.append(pod)
        return pod


@dataclass
class Worker:
    """Runs training processes inside of the test, which spares the seconds of importing torch."""

    pods: Pods
    run: Callable[..., Outcome]

    def __call__(self, run: FrozenRun, attempt: int = 1, *, stop_after: int = 0) -> Outcome:
        """Run one attempt of a run that is mounted already.

        Args:
            run: The run.
            attempt: Number of the attempt.
            stop_after: The step after which the order to stop comes; steps of this attempt; 0 for never.
        """
        return self.run(self.pods.context(run, attempt, f"pod-{attempt}"), stop_after=stop_after)

    def losses(self, run: FrozenRun) -> dict[int, float]:
        """Return the logged loss by step from the run record of a finished run."""
        record = self.record(run)
        return {entry["step"]: entry["loss"] for entry in record["metrics"] if "loss" in entry}

    def record(self, run: FrozenRun) -> dict[str, Any]:
        """Return the run record of a finished run."""
        record: dict[str, Any] = json.loads((self.folder(run) / "output/run-record.json").read_text(encoding="utf-8"))
        return record

    def folder(self, run: FrozenRun) -> Path:
        """Return the run's folder on its claim."""
        return self.pods.context(run).run_directory


@pytest.fixture
def work(pods: Pods, attempt: Callable[..., Outcome]) -> Worker:
    """Runs training processes inside of the test."""
    return Worker(pods, attempt)


@pytest.fixture
def make_run() -> Callable[..., FrozenRun]:
    """Makes tiny runs; keyword arguments change the spec."""
    return frozen_run


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """Pods that are gone when the test is."""
    pods = Pods(tmp_path)
    yield pods
    for pod in pods.started:
        for child in [*pod.children(), pod.process.pid] if pod.process.poll() is None else []:
            os.kill(child, signal.SIGKILL)
        pod.process.wait(10)
