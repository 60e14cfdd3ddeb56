"""System packages: what the cluster needs from Debian or Ubuntu, installed with apt where this process may."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import settings, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

# Package → what must exist once it is installed: a program's name or an absolute path.
_NEEDED = {
    "etcd-server": "etcd",
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": str(settings.CNI_PLUGINS / "bridge"),
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "iptables": "iptables",
    "iproute2": "ip",
    "conntrack": "conntrack",
    "socat": "socat",
    "openssl": "openssl",
    "busybox-static": "busybox",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
}
_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = (
    "#!/bin/sh\n# Put here by tests/cluster while apt runs, so that no service of Debian's starts.\nexit 101\n"
)


def missing() -> list[str]:
    """The packages whose programs or files are not there."""
    return [package for package, proof in _NEEDED.items() if not _present(proof)]


def _present(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else shell.find_program(proof) is not None


def install() -> None:
    """Install what is missing.

    Raises:
        ClusterError: something is missing and this process may not or cannot install it.
    """
    absent = missing()
    if not absent:
        return
    if os.geteuid() != 0 or shell.find_program("apt-get") is None:
        raise shell.ClusterError(
            "the local cluster needs these Debian or Ubuntu packages, and only root can install them with apt: "
            f"{' '.join(absent)}\nInstall them, or run this as root, or use a cluster of your own (CLUSTER=current)."
        )
    with shell.step(f"installing packages: {' '.join(absent)}"), _services_kept_off():
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
        shell.run_logged([*apt, "update"], settings.LOGS / "apt-update.log", timeout=600, environment=environment)
        shell.run_logged(
            [*apt, "install", "-y", "--no-install-recommends", *absent],
            settings.LOGS / "apt-install.log",
            timeout=1200,
            environment=environment,
        )
    if absent := missing():
        raise shell.ClusterError(f"apt installed {' '.join(absent)}, yet their programs are not where they should be")


@contextlib.contextmanager
def _services_kept_off() -> Iterator[None]:
    """Debian starts a package's services at once: forbid it for the time of the installation."""
    if _POLICY.exists():  # the machine has a rule of its own; a container's usually forbids the same
        yield
        return
    shell.write_atomically(_POLICY, _POLICY_TEXT, 0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
