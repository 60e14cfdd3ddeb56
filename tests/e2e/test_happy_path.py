"""From `kubectl apply` to a verified adapter on a claim: pretraining, fine-tuning on it, alignment on that."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import install
import jobs
import pytest
import volume
from kube import Kubectl
from watching import Watched, condition, metric

Object = dict[str, Any]


@dataclass(frozen=True)
class Chain:
    """Three jobs that ran one after the other.

    Attributes:
        jobs: By method.
        seen: Every status of each that was read on the way, oldest first, by method.
        waiting: Status of the second while the first ran.
    """

    jobs: dict[str, Watched]
    seen: dict[str, list[Object]]
    waiting: Object

    def status(self, method: str) -> Object:
        """Return the last status of a job."""
        return self.seen[method][-1]


def follow(job: Watched, limit: float = 240.0) -> list[Object]:
    """Return the statuses a job goes through until it is Complete, at most ten a second."""
    seen: list[Object] = []
    end = time.monotonic() + limit
    while not seen or not condition(seen[-1], "Complete"):
        assert time.monotonic() < end, f"{job.name} was not Complete in time: {seen[-1:]}"
        status = job.status()
        assert not condition(status, "Failed"), condition(status, "Failed")
        if not seen or status != seen[-1]:
            seen.append(status)
        time.sleep(0.1)
    return seen


@pytest.fixture(scope="module")
def chain(shared_space: Kubectl, apply_shared: Callable[..., Watched]) -> Chain:
    """All three, applied at once."""
    preferences = [
        {**row, "chosen": row.pop("completion"), "rejected": "no no no"}
        for row in map(json.loads, jobs.questions(40).splitlines())
    ]
    rows = "".join(json.dumps(row) + "\n" for row in preferences)
    pairs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pairs"}, "data": {"train.jsonl": rows}}
    dpo = jobs.job(
        "aligned",
        {
            "method": "dpo",
            "model": {"fromJob": {"name": "tuned"}},
            "datasets": [jobs.dataset("pairs")],
            "training": {"maxSteps": 10, "perDeviceTrainBatchSize": 4, "maxLength": 96, "loggingSteps": 1},
        },
        "AlignmentJob",
    )
    applied = {
        # Long enough for several looks on a fast machine too: statuses are written every two seconds.
        "pretrain": apply_shared(jobs.slow_pretrain("base", steps=200)),
        "sft": apply_shared(jobs.sft("tuned", "base", evaluation={"splitRatio": 0.9})),
        "dpo": apply_shared(pairs, dpo),
    }
    waiting = applied["sft"].wait_until(lambda status: status.get("state") == "Waiting", "Waiting", 30)
    return Chain(applied, {method: follow(job) for method, job in applied.items()}, waiting)


def test_state_percent_loss_and_eta_move_while_it_trains(chain: Chain) -> None:
    seen = chain.seen["pretrain"]
    running = [status for status in seen if status.get("state") == "Running"]
    percents = [status["progress"]["progressPercentage"] for status in running if "progress" in status]
    assert percents == sorted(percents)
    assert len(set(percents)) > 3
    losses = [loss for status in running if (loss := metric(status, "loss")) is not None]
    assert losses[-1] < losses[0]
    estimates = [status["progress"].get("estimatedRemainingSeconds") for status in running if "progress" in status]
    known = [estimate for estimate in estimates if estimate is not None]
    assert len(set(known)) > 2
    assert known[-1] < max(known)


def test_the_states_come_in_their_order(chain: Chain) -> None:
    order = ["Pending", "Waiting", "Starting", "Running", "Complete"]
    for seen in chain.seen.values():
        states = [order.index(status["state"]) for status in seen if "state" in status]
        assert states == sorted(states)
        assert states[-1] == order.index("Complete")


def test_a_job_waits_for_the_one_it_starts_from(chain: Chain) -> None:
    ready = condition(chain.waiting, "Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "WaitingForJob")
    assert "base" in ready["message"]
    assert chain.status("sft")["attempts"][0]["startTime"] >= chain.status("pretrain")["completionTime"]


def test_wait_for_ready_returns(chain: Chain, shared_space: Kubectl) -> None:
    for job in chain.jobs.values():
        told = shared_space("wait", "--for=condition=Ready", f"{job.kind}/{job.name}", "--timeout=5s")
        assert "condition met" in told


def test_kstatus_sees_every_job_as_current(chain: Chain) -> None:
    for job in chain.jobs.values():
        found = job.read()
        status = found["status"]
        assert status["observedGeneration"] == found["metadata"]["generation"]
        assert condition(status, "Ready")["status"] == "True"
        assert not condition(status, "Reconciling")
        assert not condition(status, "Stalled")


def test_kubectl_get_tells_the_whole_in_one_line(chain: Chain, shared_space: Kubectl) -> None:
    head, *lines = shared_space("get", "ftj").splitlines()
    for column in ("NAME", "METHOD", "MODEL", "STATE", "PROGRESS", "LOSS", "ETA", "AGE"):
        assert column in head
    by_name = {line.split()[0]: line for line in lines}
    assert "Complete" in by_name["base"]
    assert "pretrain" in by_name["base"]
    assert "100" in by_name["tuned"]
    assert "aligned" in shared_space("get", "tunesmith")


def test_describe_tells_what_went_on(chain: Chain, shared_space: Kubectl) -> None:
    told = shared_space("describe", "ftj", "tuned")
    for part in ("Complete", "Succeeded", "Digest", "Attempts", "World Size", "Training:"):
        assert part in told


def test_the_output_is_whole_and_its_digest_is_the_status(
    chain: Chain, shared_space: Kubectl, references: dict[str, str]
) -> None:
    for method, kind in (("pretrain", "model"), ("sft", "adapter"), ("dpo", "adapter")):
        output = chain.status(method)["output"]
        found = volume.read(shared_space, references["trainer-cpu"], output["claim"])
        manifest = found.json(f"{output['path']}/manifest.json")
        listed = {file["path"]: (file["size"], file["sha256"]) for file in manifest["files"]}
        stored = {
            path: (found.files[f"{output['path']}/{path}"]["size"], found.files[f"{output['path']}/{path}"]["sha256"])
            for path in found.below(output["path"])
            if path != "manifest.json"
        }
        assert stored == listed
        assert manifest["artifact"] == output["kind"] == kind
        assert output["digest"] == volume.digest(manifest["files"])
        assert output["sizeBytes"] == sum(size for size, _ in listed.values())
        assert found.links[output["latestPath"]]


def test_an_adapter_names_the_model_it_belongs_to(chain: Chain) -> None:
    base = chain.status("pretrain")["output"]
    for method in ("sft", "dpo"):
        assert chain.status(method)["output"]["baseModel"] == {"claim": base["claim"], "path": base["path"]}


def test_the_users_objects_are_left_as_they_were_but_for_status(chain: Chain, shared_space: Kubectl) -> None:
    for job in chain.jobs.values():
        metadata = job.read()["metadata"]
        assert not {"annotations", "labels", "finalizers", "ownerReferences"} & set(metadata)
    for config in shared_space.list("configmaps"):
        if config["metadata"]["name"] in {jobs.TEXTS, "pairs"}:
            assert not {"annotations", "labels", "finalizers", "ownerReferences"} & set(config["metadata"])


def test_the_claims_belong_to_nobody(chain: Chain, shared_space: Kubectl) -> None:
    for claim in shared_space.list("persistentvolumeclaims"):
        assert "ownerReferences" not in claim["metadata"]


def test_the_operator_was_never_forbidden_anything(chain: Chain, operator: Kubectl) -> None:
    path = f"/api/v1/namespaces/{operator.namespace}/services/{install.RELEASE}-metrics:metrics/proxy/metrics"
    figures = operator("get", "--raw", path)
    assert "tunesmith_" in figures
    assert 'code="403"' not in figures
    assert "forbidden" not in operator("logs", f"deployment/{install.RELEASE}").lower()
