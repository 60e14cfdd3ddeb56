"""etcd, API server, controller manager and scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcluster import certificates, processes, settings, shell

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def start() -> None:
    """Start the four and wait until the API server is ready.

    Raises:
        ClusterError: one of them ended, or the API server was not ready in time.
    """
    _mount_memory()
    processes.start("etcd", _etcd())
    processes.start("kube-apiserver", _api_server())
    shell.wait_for("the API server", _ready, timeout=120)
    processes.start("kube-controller-manager", _controller_manager())
    processes.start("kube-scheduler", _scheduler())


def kubectl(*words: str, stdin: str | None = None, timeout: float = 120) -> str:
    """Run kubectl as administrator and return what it prints.

    Raises:
        ClusterError: it failed.
    """
    return shell.run(
        [settings.BIN / "kubectl", "--kubeconfig", settings.KUBECONFIG, *words], stdin=stdin, timeout=timeout
    )


def answers() -> bool:
    """Whether the API server says it is ready."""
    kubectl_path = settings.BIN / "kubectl"
    if not kubectl_path.exists() or not settings.KUBECONFIG.exists():
        return False
    command: list[str | Path] = [
        kubectl_path,
        "--kubeconfig",
        settings.KUBECONFIG,
        "--request-timeout=5s",
        "get",
        "--raw",
        "/readyz",
    ]
    return shell.attempt(command, timeout=30).returncode == 0


def _ready() -> bool:
    processes.require("etcd")
    processes.require("kube-apiserver")
    return answers()


def _mount_memory() -> None:
    """The database of a cluster that lives for one test run belongs in memory: etcd waits for the disk otherwise."""
    settings.ETCD.mkdir(parents=True, exist_ok=True)
    if not settings.ETCD.is_mount():
        shell.run(["mount", "-t", "tmpfs", "-o", "size=3g,mode=0700", "tunesmith-etcd", settings.ETCD])


def _etcd() -> list[str]:
    return [
        shell.find_program("etcd") or "etcd",
        f"--data-dir={settings.ETCD / 'data'}",
        f"--listen-client-urls={settings.ETCD_CLIENT_URL}",
        f"--advertise-client-urls={settings.ETCD_CLIENT_URL}",
        f"--listen-peer-urls={settings.ETCD_PEER_URL}",
        f"--initial-advertise-peer-urls={settings.ETCD_PEER_URL}",
        f"--initial-cluster=default={settings.ETCD_PEER_URL}",
        "--quota-backend-bytes=2147483648",
        "--log-level=warn",
        "--logger=zap",
    ]


def _api_server() -> list[str]:
    own = certificates
    return [
        str(settings.BIN / "kube-apiserver"),
        f"--etcd-servers={settings.ETCD_CLIENT_URL}",
        f"--bind-address={settings.NODE_ADDRESS}",
        f"--advertise-address={settings.NODE_ADDRESS}",
        f"--secure-port={settings.API_PORT}",
        f"--client-ca-file={own.certificate('ca')}",
        f"--tls-cert-file={own.certificate('kube-apiserver')}",
        f"--tls-private-key-file={own.key('kube-apiserver')}",
        f"--kubelet-certificate-authority={own.certificate('ca')}",
        f"--kubelet-client-certificate={own.certificate('kube-apiserver-kubelet-client')}",
        f"--kubelet-client-key={own.key('kube-apiserver-kubelet-client')}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={own.key('service-accounts')}",
        f"--service-account-signing-key-file={own.key('service-accounts')}",
        f"--service-cluster-ip-range={settings.SERVICE_NETWORK}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--max-requests-inflight=1600",
        "--max-mutating-requests-inflight=800",
        "--profiling=false",
        "--v=1",
    ]


def _controller_manager() -> list[str]:
    kubeconfig = certificates.kubeconfig("kube-controller-manager")
    return [
        str(settings.BIN / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={settings.NODE_ADDRESS}",
        f"--root-ca-file={certificates.certificate('ca')}",
        f"--cluster-signing-cert-file={certificates.certificate('ca')}",
        f"--cluster-signing-key-file={certificates.key('ca')}",
        f"--service-account-private-key-file={certificates.key('service-accounts')}",
        f"--cluster-cidr={settings.POD_NETWORK}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
        "--v=1",
    ]


def _scheduler() -> list[str]:
    kubeconfig = certificates.kubeconfig("kube-scheduler")
    return [
        str(settings.BIN / "kube-scheduler"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={settings.NODE_ADDRESS}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
        "--v=1",
    ]
