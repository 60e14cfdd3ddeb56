"""What only the operator can refuse, since it needs other objects or the installation: before any child exists."""

from collections.abc import Callable

import jobs
import pytest
from kube import Kubectl
from watching import Watched, condition

Apply = Callable[..., Watched]


def check_refused(job: Watched, reason: str, *told: str) -> None:
    """Assert that a job Failed for a reason, in words that help, and that nothing was made for it."""
    status = job.wait_failed(limit=30)
    for kind in ("Failed", "Stalled"):
        assert condition(status, kind)["reason"] == reason
    ready = condition(status, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    for part in told:
        assert part in ready["message"]
    assert status["state"] == "Failed"
    assert job.children() == []
    assert job.kubectl.get("persistentvolumeclaim", f"{job.name}-{job.short}") is None


@pytest.mark.parametrize(
    ("block", "fields", "reason", "told"),
    [
        ("spec", {"accelerator": "tpu"}, "UnknownAccelerator", ("spec.accelerator", "tpu", "cpu", "cuda")),
        ("model", {"dtype": "float16"}, "UnsupportedDtype", ("spec.model.dtype", "float16", "float32", "bfloat16")),
    ],
    ids=["profile", "dtype"],
)
def test_a_job_that_the_installation_can_not_run_is_refused(
    block: str, fields: dict[str, str], *, reason: str, told: tuple[str, ...], apply: Apply
) -> None:
    manifest = jobs.pretrain("refused")
    manifest["spec"]["model"] = dict(manifest["spec"]["model"])
    target = manifest["spec"] if block == "spec" else manifest["spec"][block]
    target.update(fields)
    check_refused(apply(manifest), reason, *told)


def test_a_job_that_starts_from_itself_is_refused(apply: Apply) -> None:
    check_refused(apply(jobs.sft("ouroboros", "ouroboros")), "DependencyCycle", "fromJob", "itself")


def test_two_jobs_that_start_from_each_other_are_refused(apply: Apply, space: Kubectl) -> None:
    second = apply(jobs.sft("first", "second"), jobs.sft("second", "first"))
    check_refused(second, "DependencyCycle", "first", "second")
    check_refused(Watched(space, "FineTuneJob", "first"), "DependencyCycle", "first", "second")


def test_a_job_whose_predecessor_does_not_exist_waits_and_says_so(apply: Apply) -> None:
    job = apply(jobs.sft("early", "later"))
    status = job.wait_until(lambda status: condition(status, "Ready").get("reason") == "WaitingForJob", "waiting", 30)
    assert condition(status, "Ready")["status"] == "Unknown"
    assert "later" in condition(status, "Ready")["message"]
    assert status["state"] == "Waiting"
    assert job.children() == []
