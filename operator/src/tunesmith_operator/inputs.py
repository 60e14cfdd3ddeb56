"""What one pass sees of the world, and what it decides: the seam between the impure and the pure half."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith_operator.permissions import Permissions

if TYPE_CHECKING:
    from datetime import datetime

    from tunesmith_api.profile import AcceleratorProfile
    from tunesmith_api.progress import Progress

Object = Mapping[str, Any]
"""A Kubernetes object as raw JSON."""


@dataclass(frozen=True)
class JobKey:
    """Which job a pass is about; the key of the queue."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Termination:
    """How the trainer container of a pod ended, as the kubelet told it.

    Kept by the pod's handler from MODIFIED and DELETED events, since a deleted pod can not be read any more.
    """

    exit_code: int
    reason: str
    message: str
    disrupted: bool = False
    """Whether the pod carried a DisruptionTarget condition, was being deleted, or was turned away by its node."""
    disruption: str = ""
    """Reason of the DisruptionTarget condition, such as EvictionByEvictionAPI; empty without one."""
    finished: datetime | None = None
    """When the container ended."""
    deletion_requested: datetime | None = None
    """When the pod's deletion was asked for; tells a cause from its consequences among several pods."""


@dataclass(frozen=True)
class ProgressSample:
    """The last answer of a pod's progress endpoint."""

    progress: Progress
    received: datetime


@dataclass(frozen=True)
class ChildError:
    """Why the API server refused to create an object of the job: shown to the user as long as it lasts."""

    status: int
    reason: str
    message: str
    """The API server's own words; they name the object."""
    leftover: bool = False
    """Whether an object of an earlier job of this name is in the way, which only needs time to go."""


@dataclass(frozen=True)
class Inputs:
    """Everything a decision may depend on. Absent objects are None or missing keys; nothing is read later."""

    now: datetime
    operator_version: str
    profiles: Mapping[str, AcceleratorProfile]
    key: JobKey
    job: Object
    permissions: Permissions = field(default_factory=Permissions)
    run_config: Object | None = None
    """ConfigMap of the run that `spec.runId` names."""
    child: Object | None = None
    """PyTorchJob of the newest attempt in the status, or of the first attempt of a fresh job, if it exists."""
    pods: tuple[Object, ...] = ()
    """Pods that carry the label of that PyTorchJob's name, whatever their owner and whether it exists or not."""
    preparation: Object | None = None
    """Job of the newest preparation in the status, or of the first one of a fresh job, if it exists and matters."""
    preparation_pods: tuple[Object, ...] = ()
    """Pods that carry the label of that Job's name."""
    terminations: Mapping[str, Termination] = field(default_factory=dict)
    """By pod UID; also of pods that are gone."""
    claims: Mapping[str, Object] = field(default_factory=dict)
    """PersistentVolumeClaims by name, of `desired.references.claims`, that exist."""
    config_maps: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Keys of the ConfigMaps of `desired.references.config_maps`, by name, that exist."""
    jobs: Mapping[JobKey, Object] = field(default_factory=dict)
    """The jobs that this one depends on and that those still wait for, if they exist; itself, when it is met again."""
    sample: ProgressSample | None = None
    training_operator_installed: bool = True
    """Whether the API server serves PyTorchJob."""
    child_error: ChildError | None = None
    """The refusal (4xx) of a Create in an earlier round of the same pass; 409 only for an object of a stranger."""


@dataclass(frozen=True)
class Create:
    """Create an object. 409: fine when it exists and is ours (or is a claim); see `adopt`."""

    manifest: Object
    adopt: str
    """`owned`: an existing object must be owned by the job's UID, else NameConflict; `any`: it is used as it is."""


@dataclass(frozen=True)
class Delete:
    """Delete an object, with its UID and resourceVersion as precondition where known; absent is fine."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Decision:
    """What a pass does: first the status when `status_first`, then the actions in order, else actions then status."""

    status: Mapping[str, Any]
    actions: tuple[Create | Delete, ...] = ()
    status_first: bool = False
    requeue_after: float | None = None
    """Seconds after which the job is looked at again even if nothing happens."""
    poll: tuple[str, str] | None = None
    """Pod UID and IP of rank 0 whose progress is to be polled; None: nothing to poll."""
