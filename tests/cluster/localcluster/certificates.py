"""The cluster's own certificate authority and what it signs, made with `openssl` and kept between starts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from localcluster import settings, shell

if TYPE_CHECKING:
    from pathlib import Path

_DAYS = "3650"
_SERVER_NAMES = (
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,"
    f"DNS:localhost,IP:127.0.0.1,IP:{settings.NODE_ADDRESS},IP:{settings.API_SERVICE_ADDRESS}"
)
# Name → (subject, extra extensions). The subject is the identity: O is the group, CN the user.
_SIGNED = {
    "kube-apiserver": ("/CN=kube-apiserver", f"subjectAltName={_SERVER_NAMES}"),
    "kubelet-server": (
        f"/CN={settings.NODE_NAME}",
        f"subjectAltName=DNS:{settings.NODE_NAME},IP:{settings.NODE_ADDRESS}",
    ),
    "kube-apiserver-kubelet-client": ("/O=system:masters/CN=kube-apiserver-kubelet-client", ""),
    "admin": ("/O=system:masters/CN=admin", ""),
    "kube-controller-manager": ("/CN=system:kube-controller-manager", ""),
    "kube-scheduler": ("/CN=system:kube-scheduler", ""),
    "kube-proxy": ("/CN=system:kube-proxy", ""),
    "kubelet": (f"/O=system:nodes/CN=system:node:{settings.NODE_NAME}", ""),
}
_CLIENTS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def certificate(name: str) -> Path:
    """The path of a certificate."""
    return settings.CERTIFICATES / f"{name}.crt"


def key(name: str) -> Path:
    """The path of a private key."""
    return settings.CERTIFICATES / f"{name}.key"


def kubeconfig(name: str) -> Path:
    """The path of a client's kubeconfig; the administrator's is the one users get."""
    return settings.KUBECONFIG if name == "admin" else settings.CERTIFICATES / f"{name}.kubeconfig"


def ensure() -> None:
    """Make what is missing: the authority, the certificates, the service accounts' key and the kubeconfigs.

    Raises:
        ClusterError: openssl failed.
    """
    settings.CERTIFICATES.mkdir(parents=True, exist_ok=True, mode=0o700)
    _authority()
    for name, (subject, extensions) in _SIGNED.items():
        if not _usable(name):
            _sign(name, subject, extensions)
    if not key("service-accounts").exists():
        temporary = key("service-accounts").with_suffix(".tmp")
        shell.run(["openssl", "genrsa", "-out", temporary, "2048"])
        temporary.rename(key("service-accounts"))
    for name in _CLIENTS:
        shell.write_atomically(kubeconfig(name), json.dumps(_kubeconfig(name), indent=2) + "\n", 0o600)


def _usable(name: str) -> bool:
    """Whether the certificate is there with its key, was signed by today's authority and holds another month."""
    if not (certificate(name).exists() and key(name).exists()):
        return False
    verified = shell.attempt(["openssl", "verify", "-CAfile", certificate("ca"), certificate(name)])
    lasting = shell.attempt(["openssl", "x509", "-in", certificate(name), "-noout", "-checkend", str(30 * 86400)])
    return verified.returncode == 0 and lasting.returncode == 0


def _authority() -> None:
    if certificate("ca").exists() and key("ca").exists() and _usable("ca"):
        return
    _request("ca", "/CN=tunesmith-local-cluster", ["keyUsage=critical,keyCertSign,cRLSign,digitalSignature"], [])


def _sign(name: str, subject: str, extensions: str) -> None:
    usage = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"]
    usage.append("extendedKeyUsage=serverAuth,clientAuth")
    signer: list[str | Path] = ["-CA", certificate("ca"), "-CAkey", key("ca")]
    _request(name, subject, [*usage, *([extensions] if extensions else [])], signer)


def _request(name: str, subject: str, extensions: list[str], signer: list[str | Path]) -> None:
    """One certificate with a new key; the key goes first, the certificate last, so that a half pair is made again."""
    certificate(name).unlink(missing_ok=True)
    temporary = certificate(name).with_suffix(".tmp")
    added = [word for extension in extensions for word in ("-addext", extension)]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", _DAYS]
    shell.run(["openssl", "req", *kind, "-subj", subject, "-keyout", key(name), "-out", temporary, *added, *signer])
    temporary.rename(certificate(name))


def _kubeconfig(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "tunesmith-local",
                "cluster": {"server": settings.API_URL, "certificate-authority": str(certificate("ca"))},
            }
        ],
        "users": [{"name": name, "user": {"client-certificate": str(certificate(name)), "client-key": str(key(name))}}],
        "contexts": [{"name": "tunesmith-local", "context": {"cluster": "tunesmith-local", "user": name}}],
        "current-context": "tunesmith-local",
    }
