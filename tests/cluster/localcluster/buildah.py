"""Building and pushing images with buildah, on storage of its own."""

from __future__ import annotations

import functools
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from localcluster import node, package_index, settings, shell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ACCEPT = "application/vnd.oci.image.manifest.v1+json,application/vnd.docker.distribution.manifest.v2+json"


@functools.cache
def _buildah() -> tuple[str, ...]:
    driver = "overlay" if node.snapshotter() == "overlayfs" else "vfs"
    roots = ("--root", str(settings.BUILDAH), "--runroot", str(settings.STATE / "buildah-run"))
    return (shell.find_program("buildah") or "buildah", *roots, "--storage-driver", driver)


def exists(reference: str) -> bool:
    """Whether buildah's storage has an image of this name."""
    return (
        shell.attempt([*_buildah(), "inspect", "--type", "image", "--format", "{{.FromImageID}}", reference]).returncode
        == 0
    )


def build(
    reference: str,
    dockerfile: Path,
    context: Path,
    *,
    arguments: Mapping[str, str] | None = None,
    ignore_file: Path | None = None,
    network: bool = False,
) -> None:
    """Build an image; unchanged steps come from the cache.

    Args:
        reference: the name to give it.
        dockerfile: what to build.
        context: the folder its COPY instructions see.
        arguments: values of its ARGs.
        ignore_file: patterns of what to leave out of the context.
        network: whether its RUN steps fetch packages: they then see this machine's network, certificates and package
            indexes, none of which end up in the image.

    Raises:
        ClusterError: the build failed.
    """
    command = [*_buildah(), "build", "--layers", "--isolation", "chroot", "--format", "oci", "--pull=never"]
    command += ["--tag", reference, "--file", str(dockerfile)]
    command += [word for name, value in (arguments or {}).items() for word in ("--build-arg", f"{name}={value}")]
    command += ["--ignorefile", str(ignore_file)] if ignore_file else []
    command += [*(["--network", "host", *package_index.mounts()] if network else []), str(context)]
    log = settings.LOGS / f"image-{reference.rpartition('/')[2].replace(':', '-')}.log"
    shell.run_logged(command, log, timeout=2400, environment={"TMPDIR": str(_temporary())})


def push(reference: str) -> str:
    """Push an image to the local registry and return its digest; layers that are there already do not move.

    The quickest zstd: the disk is slower than packing and unpacking with it, and gzip unpacks at a third of its speed.

    Raises:
        ClusterError: the push failed.
    """
    digest = settings.TEMPORARY / "digest"
    packing = ("--compression-format", "zstd", "--compression-level", "1")
    command = [*_buildah(), "push", "--tls-verify=false", *packing, "--digestfile", str(digest), reference]
    shell.run([*command, f"docker://{reference}"], timeout=1200, environment={"TMPDIR": str(_temporary())})
    return digest.read_text(encoding="utf-8").strip()


def pushed_digest(reference: str) -> str | None:
    """The digest that the local registry has under this name, or None."""
    repository, _, tag = reference.removeprefix(f"{settings.REGISTRY}/").rpartition(":")
    url = f"http://{settings.REGISTRY}/v2/{repository}/manifests/{tag}"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": _ACCEPT})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return str(answer.headers["Docker-Content-Digest"])
    except (urllib.error.URLError, OSError):
        return None


def prune() -> None:
    """Remove what interrupted builds left and images that no name and no other image holds: each may hold gigabytes."""
    shell.attempt([*_buildah(), "rm", "--all"], timeout=300)
    while shell.attempt([*_buildah(), "rmi", "--prune"], timeout=300).stdout.strip():
        pass  # what held on to the next ones is gone


def _temporary() -> Path:
    settings.TEMPORARY.mkdir(parents=True, exist_ok=True)
    return settings.TEMPORARY
