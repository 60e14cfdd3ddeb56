"""The operator's settings: one YAML file, checked when the operator starts."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from tunesmith_api.base import ApiModel
from tunesmith_api.profile import AcceleratorProfile
from tunesmith_operator.permissions import Permissions

DEFAULT_PATH = Path("/etc/tunesmith-operator/config.yaml")
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_NAMESPACE = "tunesmith-system"

Positive = Annotated[float, Field(gt=0, le=86400)]


class SettingsError(Exception):
    """The settings can not be used; the message names the file, each field and what is wrong with it."""


class Settings(ApiModel):
    """What an installation may choose. Every duration is in seconds."""

    accelerators: Annotated[
        dict[str, AcceleratorProfile],
        Field(default_factory=dict, description="Accelerator profiles by the name that jobs use."),
    ]
    policy: Annotated[Permissions, Field(description="What jobs may do.")] = Permissions()
    watch_namespaces: Annotated[
        tuple[str, ...], Field(description="Namespaces whose jobs are looked after. Empty: all.")
    ] = ()
    workers: Annotated[int, Field(ge=1, le=256, description="Jobs that are reconciled at the same time.")] = 16
    qps: Annotated[float, Field(gt=0, le=100_000, description="Requests per second to the API server, on average.")] = (
        1000.0
    )
    burst: Annotated[int, Field(ge=1, le=100_000, description="Requests that may be made at once.")] = 1000
    chunk_size: Annotated[int, Field(ge=10, le=10_000, description="Objects per page of a list.")] = 500
    resync_seconds: Annotated[Positive, Field(description="Time between two full comparisons with the cluster.")] = 300
    poll_seconds: Annotated[Positive, Field(description="Time between two questions for a pod's progress.")] = 10
    status_seconds: Annotated[
        Positive, Field(description="Least time between two status writes that only tell progress.")
    ] = 15
    canary_seconds: Annotated[
        float, Field(ge=75, le=3600, description="A change of the Lease unseen for so long means the watch is dead.")
    ] = 75
    lease_name: Annotated[str, Field(min_length=1, max_length=253, description="The Lease that decides who leads.")] = (
        "tunesmith-operator"
    )
    lease_duration_seconds: Annotated[
        float, Field(ge=5, le=600, description="After this long without renewal another replica takes over.")
    ] = 15
    lease_renew_seconds: Annotated[float, Field(ge=1, le=60, description="Time between two renewals of the Lease.")] = 4
    http_port: Annotated[int, Field(ge=0, le=65535, description="Port of /metrics, /healthz and /readyz.")] = 8080
    log_format: Annotated[Literal["text", "json"], Field(description="How log lines look.")] = "text"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="What is logged.")] = "info"

    @property
    def namespace(self) -> str:
        """The namespace the operator runs in, where its Lease is."""
        return own_namespace()

    @field_validator("accelerators", mode="before")
    @classmethod
    def _name_profiles(cls, value: Any) -> Any:
        """Give every profile the name it is listed under."""
        if not isinstance(value, dict):
            return value
        return {
            name: {**profile, "name": name} if isinstance(profile, dict) else profile for name, profile in value.items()
        }

    @model_validator(mode="after")
    def _lease_outlives_renewals(self) -> Self:
        if self.lease_duration_seconds < 2.5 * self.lease_renew_seconds:
            raise ValueError(
                "leaseDurationSeconds must be at least 2.5 times leaseRenewSeconds: one lost renewal must not cost it"
            )
        return self


def load(path: Path) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: The file is missing or no YAML, or fields are unknown or out of bounds.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: can not be read: {error.strerror}; name the file with --config") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict | None):
        raise SettingsError(f"{path}: must hold a mapping of settings, not {type(content).__name__}")
    try:
        return Settings.model_validate(content or {})
    except ValidationError as error:
        raise SettingsError(_explain(path, error)) from error


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"]) or "settings"
        message = (
            "is not a setting; remove it or mend the spelling"
            if problem["type"] == "extra_forbidden"
            else problem["msg"]
        )
        lines.append(f"{path}: {field}: {message}")
    return "\n".join(lines)


def own_namespace() -> str:
    """Return the namespace the operator runs in: POD_NAMESPACE, else the service account's, else a default."""
    if name := os.environ.get("POD_NAMESPACE"):
        return name
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or _DEFAULT_NAMESPACE
    except OSError:
        return _DEFAULT_NAMESPACE


def own_identity() -> str:
    """Return who this process is in the Lease.

    A restarted container of the same pod is the same holder: its predecessor is dead, so it need not wait.
    """
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
