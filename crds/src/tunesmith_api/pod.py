"""What a trainer pod looks like from the inside: the seam between the pod builder and the trainer."""

from __future__ import annotations

import hashlib
import re

CONTAINER_NAME = "pytorch"  # the training operator requires this name
PREPARATION_CONTAINER_NAME = "prepare"
RENDEZVOUS_PORT = 23456
RENDEZVOUS_PORT_NAME = "pytorchjob-port"
PROGRESS_PORT = 8080
PROGRESS_PORT_NAME = "metrics"
PROGRESS_PATH = "/progress"
METRICS_PATH = "/metrics"

RUN_DIRECTORY = "/etc/tunesmith"
RUN_FILE_NAME = "run.json"
RUN_FILE = f"{RUN_DIRECTORY}/{RUN_FILE_NAME}"
CLAIMS_DIRECTORY = "/tunesmith/claims"
CONFIGMAPS_DIRECTORY = "/tunesmith/configmaps"
HOME_DIRECTORY = "/home/tunesmith"
TEMPORARY_DIRECTORY = "/tmp"  # noqa: S108 - an emptyDir of the pod, not a shared directory
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_MESSAGE_BYTES = 4096  # the kubelet cuts what is longer

ENV_ATTEMPT = "TUNESMITH_ATTEMPT"
ENV_POD_UID = "TUNESMITH_POD_UID"
ENV_GRACE_SECONDS = "TUNESMITH_GRACE_SECONDS"


def secret_variable(secret: str, key: str) -> str:
    """Return the variable in which a pod finds a key of a Secret; readable, and another one for every key."""
    text = f"{secret}/{key}"
    name = re.sub("[^A-Z0-9]", "_", text.upper())
    return f"TUNESMITH_SECRET_{name}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def claim_path(claim: str, path: str = "") -> str:
    """Return where a path of a claim is seen inside a pod."""
    return "/".join(part for part in (CLAIMS_DIRECTORY, claim, path.strip("/")) if part)


def configmap_path(name: str, key: str) -> str:
    """Return where a key of a ConfigMap is seen inside a pod."""
    return f"{CONFIGMAPS_DIRECTORY}/{name}/{key}"
