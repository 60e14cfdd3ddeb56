"""What a pod answers over HTTP."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tunesmith_api.progress import Progress
from tunesmith_trainer.server import ProgressServer

PROGRESS = Progress(
    attempt=2,
    pod_uid="pod",
    phase="training",
    current_step=7,
    total_steps=10,
    metrics={"loss": 1.5, "rewards/margins": 0.25},
    seconds_since_heartbeat=0.5,
    checkpoint_steps=(3, 6),
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server that tells one progress; one for all tests, since it takes its time to stop."""
    server = ProgressServer(lambda: PROGRESS, {"namespace": "lab", "job": "lines"}, port=0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - ours
        return str(response.read().decode())


def test_progress_is_what_the_operator_reads(address: str) -> None:
    assert Progress.model_validate_json(get(f"{address}/progress")) == PROGRESS


def test_metrics_are_what_prometheus_reads(address: str) -> None:
    families = {family.name: family for family in text_string_to_metric_families(get(f"{address}/metrics"))}
    assert all(name.startswith("tunesmith_training_") for name in families)
    (step,) = families["tunesmith_training_step"].samples
    assert (step.value, step.labels) == (7.0, {"namespace": "lab", "job": "lines"})
    figures = {sample.labels["name"]: sample.value for sample in families["tunesmith_training_figure"].samples}
    assert figures == PROGRESS.metrics
    (checkpoint,) = families["tunesmith_training_checkpoint_step"].samples
    assert checkpoint.value == 6.0
    assert families["tunesmith_training_world_size"].samples == []


def test_other_paths_are_not_found(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{address}/")
    assert caught.value.code == 404
    caught.value.close()
