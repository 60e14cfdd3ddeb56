"""Waiting, with a bound, for what a job's status tells."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from kube import Kubectl

Object = dict[str, Any]
Found = TypeVar("Found")
_POLL_SECONDS = 0.5


def until(probe: Callable[[], Found | None], what: str, limit: float = 60.0) -> Found:
    """Return what the probe finds as soon as that is neither None nor False.

    Args:
        probe: Looks once.
        what: What is waited for, for the message.
        limit: Seconds after which the test fails.

    Raises:
        AssertionError: It did not happen in time.
    """
    end = time.monotonic() + limit
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit:.0f} s: {what}")
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True)
class Watched:
    """A job on the cluster.

    Attributes:
        kubectl: kubectl in its namespace.
        kind: `FineTuneJob` or `AlignmentJob`.
        name: Its name.
    """

    kubectl: Kubectl
    kind: str
    name: str

    @property
    def short(self) -> str:
        """The kind's short name, which names of children hold."""
        return {"FineTuneJob": "ftj", "AlignmentJob": "alj"}[self.kind]

    def read(self) -> Object:
        """Return the object.

        Raises:
            AssertionError: It does not exist.
        """
        found = self.kubectl.get(self.kind, self.name)
        assert found is not None, f"{self.kind} {self.name} does not exist"
        return found

    def status(self) -> Object:
        """Return its status, empty while there is none."""
        status: Object = self.read().get("status", {})
        return status

    def condition(self, kind: str) -> Object:
        """Return a condition, empty when it is not there."""
        return condition(self.status(), kind)

    def wait_until(self, holds: Callable[[Object], Any], what: str, limit: float = 180.0) -> Object:
        """Return the status once something holds.

        Raises:
            AssertionError: The job ended before that, or it did not happen in time.
        """

        def look() -> Object | None:
            status = self.status()
            if holds(status):
                return status
            failed = condition(status, "Failed")
            assert not failed, f"{self.name} Failed while waiting for: {what}\n{failed['reason']}: {failed['message']}"
            return None

        return until(look, f"{self.kind} {self.name}: {what}", limit)

    def wait_complete(self, limit: float = 240.0) -> Object:
        """Return the status once the job is Complete."""
        return self.wait_until(lambda status: condition(status, "Complete"), "Complete", limit)

    def wait_failed(self, limit: float = 180.0) -> Object:
        """Return the status once the job is Failed.

        Raises:
            AssertionError: It became Complete instead, or neither in time.
        """

        def look() -> Object | None:
            status = self.status()
            assert not condition(status, "Complete"), f"{self.name} is Complete; it should have Failed"
            return status if condition(status, "Failed") else None

        return until(look, f"{self.kind} {self.name}: Failed", limit)

    def wait_for_step(self, step: int, limit: float = 180.0) -> Object:
        """Return the status once a step has been trained and a checkpoint is whole."""
        return self.wait_until(
            lambda status: status.get("progress", {}).get("currentStep", 0) >= step and status.get("checkpoints"),
            f"step {step} and a checkpoint",
            limit,
        )

    def pods(self) -> list[Object]:
        """Return its pods."""
        return self.kubectl.list("pods", f"tunesmith.dev/job-name={self.name}")

    def children(self) -> list[str]:
        """Return the names of everything that belongs to it, claims aside."""
        selector = f"tunesmith.dev/job-name={self.name}"
        return [
            f"{each['kind']}/{each['metadata']['name']}"
            for kind in ("pytorchjobs", "jobs.batch", "pods", "configmaps")
            for each in self.kubectl.list(kind, selector)
        ]


def condition(status: Object, kind: str) -> Object:
    """Return a condition that is True, or Ready whatever it is; empty when it is not there."""
    for each in status.get("conditions", []):
        if each["type"] == kind and (each["status"] == "True" or kind == "Ready"):
            found: Object = each
            return found
    return {}


def metric(status: Object, name: str) -> float | None:
    """Return a figure of the progress."""
    figures = {each["name"]: each["value"] for each in status.get("progress", {}).get("metrics", [])}
    return float(figures[name]) if name in figures else None
