"""Two pods train as one: the same losses as one process with the same global batch."""

from collections.abc import Callable
from typing import Any

import jobs
import pytest
import volume
from kube import Kubectl
from watching import Watched

Object = dict[str, Any]
# Float32 sums in another order; measured differences are a hundred times smaller.
TOLERANCE = 2e-3
STEPS = 12


def losses(record: Object) -> list[float]:
    """Return the loss of every step from a run record."""
    return [entry["loss"] for entry in record["metrics"] if "loss" in entry]


def job(name: str, nodes: int, rows: int) -> Object:
    """Return a job of a global batch of eight rows: no dropout, no packing, every step logged."""
    return jobs.pretrain(
        name,
        steps=STEPS,
        numNodes=nodes,
        pretrain={"packing": False},
        training={"perDeviceTrainBatchSize": rows, "maxLength": 64},
    )


@pytest.fixture(scope="module")
def curves(
    shared_space: Kubectl, apply_shared: Callable[..., Watched], references: dict[str, str]
) -> dict[str, tuple[Object, list[float]]]:
    """Status and losses of the same training on one node and on two."""
    watched = {name: apply_shared(job(name, nodes, rows)) for name, nodes, rows in (("two", 2, 4), ("one", 1, 8))}
    found = {}
    for name, each in watched.items():
        status = each.wait_complete()
        output = status["output"]
        files = volume.read(shared_space, references["trainer-cpu"], output["claim"])
        found[name] = (status, losses(files.json(f"{output['path']}/run-record.json")))
    return found


def test_two_nodes_report_a_world_of_two(curves: dict[str, tuple[Object, list[float]]]) -> None:
    (attempt,) = curves["two"][0]["attempts"]
    assert attempt["worldSize"] == 2
    assert len(attempt["pods"]) == 2
    assert curves["one"][0]["attempts"][0]["worldSize"] == 1


def test_two_nodes_have_the_loss_curve_of_one_process(curves: dict[str, tuple[Object, list[float]]]) -> None:
    two, one = curves["two"][1], curves["one"][1]
    assert len(two) == len(one) == STEPS
    assert two == pytest.approx(one, abs=TOLERANCE)
    assert one[-1] < one[0]
