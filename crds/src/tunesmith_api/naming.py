"""Names derived from a job's name; each is derived in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.v1alpha1.jobs import KINDS

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.jobs import AlignmentJob, FineTuneJob

_BY_KIND: dict[str, type[FineTuneJob | AlignmentJob]] = {job.kind(): job for job in KINDS}


def job_class(kind: str) -> type[FineTuneJob | AlignmentJob]:
    """Return the class of a kind.

    Raises:
        KeyError: The kind is not one of ours.
    """
    return _BY_KIND[kind]


def child_prefix(kind: str, name: str) -> str:
    """Return what the names of a job's children begin with: the two kinds may share a name."""
    return f"{name}-{job_class(kind).short}"


def attempt_name(kind: str, name: str, number: int) -> str:
    """Return the name of the PyTorchJob of an attempt."""
    return f"{child_prefix(kind, name)}-{number}"


def preparation_name(kind: str, name: str, number: int) -> str:
    """Return the name of the Job of a preparation."""
    return f"{child_prefix(kind, name)}-prep-{number}"


def run_config_name(kind: str, name: str, run_id: str) -> str:
    """Return the name of the ConfigMap that holds a frozen run."""
    return f"{child_prefix(kind, name)}-run-{run_id}"


def default_claim_name(kind: str, name: str) -> str:
    """Return the name of a job's output claim when the spec names none."""
    return child_prefix(kind, name)


def default_output_path(kind: str, name: str) -> str:
    """Return a job's folder on its output claim when the spec names none."""
    return f"{job_class(kind).plural}/{name}"
