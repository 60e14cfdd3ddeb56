"""The node: containerd, kubelet, kube-proxy and the pod network, all on configuration and folders of their own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from localcluster import certificates, controlplane, processes, settings, shell

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("containerd", "kubelet", "kube-proxy")
_CNI = settings.CONFIGURATION / "cni"
_HOSTS = settings.CONFIGURATION / "registry-hosts"
_LONGEST_SOCKET = 107


def start_containerd() -> None:
    """Write containerd's configuration, start it and wait until it answers.

    Raises:
        ClusterError: it ended or did not answer in time.
    """
    _write_pod_network()
    shell.write_atomically(
        _HOSTS / settings.REGISTRY / "hosts.toml",
        f'server = "http://{settings.REGISTRY}"\n\n'
        f'[host."http://{settings.REGISTRY}"]\ncapabilities = ["pull", "resolve"]\n',
    )
    configuration = settings.CONFIGURATION / "containerd.toml"
    shell.write_atomically(configuration, _containerd(snapshotter()))
    settings.RUN.mkdir(parents=True, exist_ok=True, mode=0o711)
    processes.start("containerd", [shell.find_program("containerd") or "containerd", "--config", configuration])
    shell.wait_for("containerd", _containerd_answers, timeout=60)


def ctr(*words: str, timeout: float = 120) -> str:
    """Run containerd's client in the kubelet's namespace; raises ClusterError when it fails."""
    return shell.run(["ctr", "--address", settings.CONTAINERD_SOCKET, "--namespace", "k8s.io", *words], timeout=timeout)


def forget_images(name: str, *, keep: set[str]) -> None:
    """Remove images from containerd, under each name they have, so that their layers can go.

    Args:
        name: those with a name that starts so.
        keep: digests of images that stay.
    """
    held = [line.split() for line in ctr("images", "ls").splitlines()[1:]]
    doomed = {words[2] for words in held if words[0].startswith((f"{name}@", f"{name}:")) or words[0] == name} - keep
    if names := [words[0] for words in held if words[2] in doomed]:
        # It waits until gigabytes of small files are gone, which a busy disk takes minutes for.
        ctr("images", "rm", "--sync", *names, timeout=900)


def _containerd_answers() -> bool:
    processes.require("containerd")
    command = ["ctr", "--address", str(settings.CONTAINERD_SOCKET), "version"]
    return settings.CONTAINERD_SOCKET.exists() and shell.attempt(command, timeout=30).returncode == 0


def start_kubelet() -> None:
    """Start kubelet and kube-proxy and wait until the node is Ready.

    Raises:
        ClusterError: the checkout lies too deep, or the node was not ready in time.
    """
    socket = settings.KUBELET / "pod-resources" / "kubelet.sock.0123456789"
    if len(os.fsencode(socket)) > _LONGEST_SOCKET:
        raise shell.ClusterError(
            f"the path of the kubelet's sockets, {socket}, is longer than {_LONGEST_SOCKET} bytes: check out less deep"
        )
    for folder in (settings.KUBELET, settings.POD_LOGS, settings.VOLUMES):
        folder.mkdir(parents=True, exist_ok=True)
    kubelet, proxy = settings.CONFIGURATION / "kubelet.json", settings.CONFIGURATION / "kube-proxy.json"
    shell.write_atomically(kubelet, json.dumps(_kubelet(), indent=2))
    shell.write_atomically(proxy, json.dumps(_kube_proxy(), indent=2))
    command: list[str | Path] = [
        settings.BIN / "kubelet",
        f"--config={kubelet}",
        f"--kubeconfig={certificates.kubeconfig('kubelet')}",
    ]
    command += [
        f"--root-dir={settings.KUBELET}",
        f"--cert-dir={settings.KUBELET / 'pki'}",
        f"--node-ip={settings.NODE_ADDRESS}",
    ]
    command += [f"--hostname-override={settings.NODE_NAME}", "--node-labels=tunesmith.dev/local-cluster=true", "--v=1"]
    processes.start("kubelet", command)
    processes.start("kube-proxy", [settings.BIN / "kube-proxy", f"--config={proxy}", "--v=1"])
    shell.wait_for("the node to be Ready", _node_ready, timeout=120)


def _node_ready() -> bool:
    processes.require("kubelet")
    processes.require("kube-proxy")
    answer = controlplane.kubectl("get", "nodes", settings.NODE_NAME, "--ignore-not-found", "-o", "json")
    conditions = json.loads(answer)["status"].get("conditions", []) if answer.strip() else []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def snapshotter() -> str:
    """`overlayfs` where the kernel can stack a layer on the state folder's file system, `native` (copies) elsewhere."""
    probe = settings.TEMPORARY / "overlay-probe"
    for name in ("lower", "upper", "work", "merged"):
        (probe / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={probe / 'lower'},upperdir={probe / 'upper'},workdir={probe / 'work'}"
    mounted = (
        shell.attempt(["mount", "-t", "overlay", "tunesmith-probe", "-o", options, probe / "merged"]).returncode == 0
    )
    if mounted:
        shell.run(["umount", probe / "merged"])
    return "overlayfs" if mounted else "native"


def _containerd(layers: str) -> str:
    runc = shell.find_program("runc") or "runc"
    return f"""version = 2
root = "{settings.CONTAINERD}"
state = "{settings.RUN / "containerd"}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
address = "{settings.CONTAINERD_SOCKET}"

[ttrpc]
address = "{settings.CONTAINERD_SOCKET}.ttrpc"

[debug]
level = "warn"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{settings.PAUSE_IMAGE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "{settings.NODE_ADDRESS}"
stream_server_port = "0"
max_concurrent_downloads = 4

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{layers}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{settings.CNI_PLUGINS}"
conf_dir = "{_CNI}"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{_HOSTS}"
"""


def _write_pod_network() -> None:
    bridge = {
        "type": "bridge",
        "bridge": settings.BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(settings.RUN / "addresses"),
            "ranges": [[{"subnet": settings.POD_NETWORK}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]
    network = {"cniVersion": "0.4.0", "name": "tunesmith", "plugins": plugins}
    shell.write_atomically(_CNI / "10-tunesmith.conflist", json.dumps(network, indent=2))


def _kubelet() -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": settings.NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificates.certificate("kubelet-server")),
        "tlsPrivateKeyFile": str(certificates.key("kubelet-server")),
        "containerRuntimeEndpoint": f"unix://{settings.CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        # Machines for tests often still have control groups of version 1, and some forbid what a node may usually set.
        "failCgroupV1": False,
        "featureGates": {"KubeletInUserNamespace": True},
        "failSwapOn": False,
        "clusterDNS": [settings.DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        # Absolute: the defaults are percentages, which trip on a large disk that is mostly used by others.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": False,
        "maxParallelImagePulls": 4,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "maxPods": 250,
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(settings.POD_LOGS),
        "volumePluginDir": str(settings.KUBELET / "volume-plugins"),
        "readOnlyPort": 0,
    }


def _kube_proxy() -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(certificates.kubeconfig("kube-proxy"))},
        "clusterCIDR": settings.POD_NETWORK,
        "hostnameOverride": settings.NODE_NAME,
        "bindAddress": settings.NODE_ADDRESS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # Zero leaves the kernel's own values alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"localhostNodePorts": False, "syncPeriod": "30s", "minSyncPeriod": "1s"},
    }
