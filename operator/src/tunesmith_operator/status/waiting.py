"""Why the pods of an attempt or a preparation do not run yet, in words that say what to do.

The first that finds something wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tunesmith_api.meta import Reason, State
from tunesmith_operator.status.preparation import BatchJob

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tunesmith_operator.inputs import Object
    from tunesmith_operator.status.child import Child
    from tunesmith_operator.status.pods import Pod

SILENT_SECONDS = 30
"""How long the training operator may take to make pods before it is called silent."""
SCHEDULING_SECONDS = 5
"""How long a pod may be without a node before that is worth a word: claims are provisioned meanwhile."""
SLOW_START_SECONDS = 120
"""How long a container may be on its way before the status says where to look."""

_AGAIN_SECONDS = 15.0  # Jobs are not watched

_IMAGE_REASONS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class Cause:
    """What is waited for.

    Attributes:
        state: The word for `kubectl get`.
        reason: Reason of the condition.
        message: What is the case, and what to do.
        seconds: After which time to look again; None: an event will tell.
    """

    state: State
    reason: Reason
    message: str
    seconds: float | None = None


@dataclass(frozen=True)
class Scene:
    """What is looked at: what makes the pods, and these before their containers run.

    Attributes:
        child: What makes the pods.
        pods: Those that exist.
        nodes: How many there must be.
        claims: The job's claims by name.
        now: The time.
        demands: The fields that say what a pod asks for.
    """

    child: Child | BatchJob
    pods: tuple[Pod, ...]
    nodes: int
    claims: Mapping[str, Object]
    now: datetime
    demands: str = "resourcesPerNode, numProcPerNode or podTemplate"


def cause(scene: Scene) -> Cause | None:
    """Return why the pods do not run yet; None when every pod's container does."""
    return next((found for look in _LOOKS if (found := look(scene))), None)


def _suspended(scene: Scene) -> Cause | None:
    if not scene.child.suspended:
        return None
    message = f"{scene.child.kind} {scene.child.name} is suspended: its queue (Kueue) has not let it in yet."
    return Cause(State.WAITING, Reason.CREATING_PODS, message)


def _unschedulable(scene: Scene) -> Cause | None:
    pod = next((pod for pod in scene.pods if pod.unschedulable), None)
    if pod is None:
        return None
    left = _left(pod.created, SCHEDULING_SECONDS, scene.now)
    if left > 0:
        return Cause(State.STARTING, Reason.CREATING_PODS, f"pod {pod.name} is being scheduled", left)
    if "persistentvolumeclaim" in pod.unschedulable.lower():
        pending = sorted(name for name, claim in scene.claims.items() if _phase(claim) != "Bound")
        which = f"PersistentVolumeClaim {', '.join(pending) or '(one of the job)'} is not bound"
        return Cause(
            State.WAITING,
            Reason.WAITING_FOR_CLAIM,
            f"{which}. The scheduler says of pod {pod.name}: {_said(pod.unschedulable)}."
            " See `kubectl describe pvc` for the provisioner's reason; a claim without a StorageClass needs a default"
            " one.",
        )
    return Cause(
        State.WAITING,
        Reason.UNSCHEDULABLE,
        f"no node takes pod {pod.name}: {_said(pod.unschedulable)}. Free or add such nodes, or ask for less in"
        f" {scene.demands}.",
    )


def _misconfigured(scene: Scene) -> Cause | None:
    for pod in scene.pods:
        if pod.waiting is not None and pod.waiting.reason in _CONFIG_REASONS:
            return Cause(
                State.WAITING,
                Reason.POD_CONFIG,
                f"pod {pod.name} can not start ({pod.waiting.reason}): {_said(pod.waiting.message)}. Create what is"
                " missing: the kubelet tries again by itself.",
            )
    return None


def _image(scene: Scene) -> Cause | None:
    for pod in scene.pods:
        if pod.waiting is not None and pod.waiting.reason in _IMAGE_REASONS:
            return Cause(
                State.WAITING,
                Reason.IMAGE_PULL,
                f"pod {pod.name} can not pull image {pod.waiting.image} ({pod.waiting.reason}):"
                f" {_said(pod.waiting.message)}."
                " Check the image of the accelerator profile, its pull secrets and the registry; the kubelet tries"
                " again by itself.",
            )
    return None


def _silent(scene: Scene) -> Cause | None:
    if len(scene.pods) >= scene.nodes:
        return None
    left = _left(scene.child.created, SILENT_SECONDS, scene.now)
    if left > 0:
        message = f"{scene.child.kind} {scene.child.name} exists; {len(scene.pods)} of {scene.nodes} pods do."
        return Cause(State.STARTING, Reason.CREATING_PODS, message, left)
    if isinstance(scene.child, BatchJob):
        return Cause(
            State.WAITING,
            Reason.JOB_CONTROLLER_SILENT,
            f"the cluster has made no pod of Job {scene.child.name} in more than {SILENT_SECONDS} s."
            f" `kubectl describe job {scene.child.name}` tells which quota or policy refuses it.",
            _AGAIN_SECONDS,
        )
    return Cause(
        State.WAITING,
        Reason.TRAINING_OPERATOR_SILENT,
        f"the training operator has made {len(scene.pods)} of {scene.nodes} pods of PyTorchJob {scene.child.name} in"
        f" more than {SILENT_SECONDS} s. See whether it runs (usually Deployment training-operator in namespace"
        f" kubeflow), and `kubectl describe pytorchjob {scene.child.name}` for a quota or policy that refuses the"
        " pods.",
    )


def _on_the_way(scene: Scene) -> Cause | None:
    pod = next((pod for pod in scene.pods if not pod.running and not pod.terminal), None)
    if pod is None:
        return None
    left = _left(pod.scheduled or pod.created, SLOW_START_SECONDS, scene.now)
    if left > 0:
        return Cause(State.STARTING, Reason.CREATING_PODS, f"pod {pod.name} is being started.", left)
    return Cause(
        State.STARTING,
        Reason.CREATING_PODS,
        f"pod {pod.name} is still being started: its image is being pulled or a volume can not be mounted."
        f" `kubectl describe pod {pod.name}` tells which.",
    )


_LOOKS = (_suspended, _unschedulable, _misconfigured, _image, _silent, _on_the_way)


def _left(since: datetime | None, seconds: float, now: datetime) -> float:
    """Return what is left of a time that began at a moment; an unknown moment is now."""
    return ((since or now) + timedelta(seconds=seconds) - now).total_seconds()


def _said(message: str) -> str:
    """Return somebody else's message as the part of a sentence."""
    return message.strip().rstrip(".") or "no reason is told"


def _phase(claim: Object) -> str:
    return str((claim.get("status") or {}).get("phase") or "Pending")
