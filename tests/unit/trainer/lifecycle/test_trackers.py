"""TensorBoard, Weights & Biases and MLflow: what they wrote is read back, and none of them used the network."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun

MakeRun = Callable[..., FrozenRun]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection to another machine fail the test; a tracker's own helper process is on this one."""
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a connection to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


def run_twice(pods: Any, work: Any, make_run: MakeRun, **reporting: Any) -> Path:
    """Run a job that is stopped once and goes on; return the run's folder."""
    run = make_run(reporting=reporting | {"runName": "baker street"})
    pods.write(run)
    assert work(run, stop_after=3).exit_code == ExitCode.TERMINATED
    outcome = work(run, attempt=2)
    assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
    folder: Path = work.folder(run)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_tensorboard_event_files_hold_every_figure(pods: Any, work: Any, make_run: MakeRun) -> None:
    from tensorboardX.proto.event_pb2 import Event

    folder = run_twice(pods, work, make_run, tensorboard=True) / "tensorboard"
    scalars = {
        (value.tag, event.step)
        for path in folder.iterdir()
        for event in _events(path.read_bytes(), Event)
        for value in event.summary.value
    }
    assert {step for tag, step in scalars if tag == "train/loss"} == set(range(1, 9))


def _events(data: bytes, kind: Any) -> list[Any]:
    """Return the events of a file: records of length, checksum, data, checksum."""
    events, place = [], 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        events.append(kind.FromString(data[place + 12 : place + 12 + length]))
        place += 12 + length + 4
    return events


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_mlflow_file_store_holds_one_run_with_every_figure(pods: Any, work: Any, make_run: MakeRun) -> None:
    import mlflow

    folder = run_twice(pods, work, make_run, mlflow={"experiment": "village"}) / "mlflow"
    client = mlflow.MlflowClient(tracking_uri=folder.as_uri())
    experiment = client.get_experiment_by_name("village")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "baker street"
    assert run.info.status == "FINISHED"
    steps = {metric.step for metric in client.get_metric_history(run.info.run_id, "loss")}
    assert steps == set(range(1, 9))
    assert run.data.params["learning_rate"] == "0.01"


@pytest.mark.slow
def test_wandb_offline_runs_hold_every_figure(pods: Any, work: Any, make_run: MakeRun) -> None:
    """In a pod of its own: the test's process has no wandb, see the `conftest` above."""
    run = make_run(reporting={"runName": "baker street", "wandb": {"project": "village"}})
    pods.write(run)
    # A proxy that nobody answers at: whatever wanted the network would say so, or wait for long.
    outcome = pods.start(run, HTTPS_PROXY="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9").wait()
    assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
    (path,) = (work.folder(run) / "wandb").glob("offline-run-*/run-*.wandb")
    read = subprocess.run(
        [sys.executable, "-c", _READER, str(path)], capture_output=True, text=True, timeout=100, check=True
    )
    told = json.loads(read.stdout)
    assert told["run"] == ["baker street", "village", "uid-1-1"]
    assert told["steps"] == list(range(1, 9))


_READER = """
import json, sys
from wandb.proto.wandb_internal_pb2 import Record
from wandb.sdk.internal.datastore import DataStore

store, steps, run = DataStore(), [], []
store.open_for_scan(sys.argv[1])
while (data := store.scan_data()) is not None:
    record = Record.FromString(data)
    if record.HasField("run"):
        run = [record.run.display_name, record.run.project, record.run.run_id]
    items = {item.nested_key[0] if item.nested_key else item.key: item.value_json for item in record.history.item}
    if "train/loss" in items:
        steps.append(int(items["train/global_step"]))
print(json.dumps({"run": run, "steps": steps}))
"""
