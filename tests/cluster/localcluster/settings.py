"""Where everything lies and which addresses the local cluster uses: the one place to change either."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = Path(__file__).resolve().parents[1]
MODULES = SOURCES / "modules"
MANIFESTS = SOURCES / "manifests"
IMAGE_SOURCES = SOURCES / "images"

STATE = REPOSITORY / ".build" / "cluster"
BIN = STATE / "bin"
CERTIFICATES = STATE / "certificates"
CONFIGURATION = STATE / "configuration"
LOGS = STATE / "logs"
PIDS = STATE / "pids"
STAMPS = STATE / "stamps"
TEMPORARY = STATE / "tmp"
CHARTS = STATE / "upstream-manifests"
VOLUMES = STATE / "volumes"
KUBELET = STATE / "kubelet"
ETCD = STATE / "etcd"
CONTAINERD = STATE / "containerd"
REGISTRY_DATA = STATE / "registry"
BUILDAH = STATE / "buildah"
POD_LOGS = LOGS / "pods"
KUBECONFIG = STATE / "kubeconfig"

# Sockets live here: the path of a socket may have 107 bytes at most, and a checkout may lie deep.
RUN = Path("/run/tunesmith-cluster")
CONTAINERD_SOCKET = RUN / "containerd.sock"

# One private /16 for everything; the node's address is put on `lo` and taken off again.
NETWORK = "10.213.0.0/16"
NODE_NAME = "tunesmith-local"
NODE_ADDRESS = "10.213.0.1"
POD_NETWORK = "10.213.64.0/18"
SERVICE_NETWORK = "10.213.128.0/18"
API_SERVICE_ADDRESS = "10.213.128.1"
DNS_ADDRESS = "10.213.128.10"
BRIDGE = "tunesmith0"
CNI_PLUGINS = Path("/usr/lib/cni")
API_PORT = 6443
API_URL = f"https://{NODE_ADDRESS}:{API_PORT}"
ETCD_CLIENT_URL = "http://127.0.0.1:12379"
ETCD_PEER_URL = "http://127.0.0.1:12380"
REGISTRY = f"{NODE_ADDRESS}:5000"

IMAGE_PREFIX = f"{REGISTRY}/tunesmith"
BASE_IMAGE = f"{IMAGE_PREFIX}/base:bookworm"
BUSYBOX_IMAGE = f"{IMAGE_PREFIX}/busybox:local"
PAUSE_IMAGE = f"{IMAGE_PREFIX}/pause:local"


def module_version(module: str, path: str) -> str:
    """The version of a Go module that a go.mod of ours requires.

    Args:
        module: the folder under `modules/`.
        path: the module path as go.mod names it.

    Raises:
        ValueError: go.mod does not require the module.
    """
    text = (MODULES / module / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^\s*(?:require )?{re.escape(path)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{MODULES / module / 'go.mod'} does not require {path}")
    return found.group(1)
