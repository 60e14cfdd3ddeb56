"""The images: Debian's base, the cluster's own small ones, and the project's operator and trainer."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import buildah, node, processes, settings, shell

if TYPE_CHECKING:
    from collections.abc import Sequence

_RELEASE = "bookworm"
_BASE_PACKAGES = "ca-certificates,python3,python3-pip,python3-venv"
_PUBLIC_MIRROR = "http://deb.debian.org/debian"
# The project's images: name → Dockerfile.
PROJECT = {"operator": "operator/Dockerfile", "trainer-cpu": "trainer-image/Dockerfile.cpu"}
_REFERENCES = settings.STATE / "images.json"
_BASE_DOCKERFILE = """\
FROM scratch
ADD rootfs.tar /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin LANG=C.UTF-8
CMD ["/bin/bash"]
"""


@dataclass(frozen=True)
class Small:
    """An image of one static program: (file on this machine, path in the image), and how it starts."""

    name: str
    program: Path
    path: str
    entry_point: str
    links: bool = False

    @property
    def reference(self) -> str:
        """Its name in the local registry."""
        return f"{settings.IMAGE_PREFIX}/{self.name}:local"


@functools.cache
def _small_images() -> tuple[Small, ...]:
    busybox = Path(shell.find_program("busybox") or "/bin/busybox")
    return (
        Small("pause", settings.BIN / "pause", "/pause", '["/pause"]'),
        Small("busybox", busybox, "/bin/busybox", '["/bin/sh"]', links=True),
        Small("coredns", settings.BIN / "coredns", "/coredns", '["/coredns"]'),
        Small(
            "local-path-provisioner",
            settings.BIN / "local-path-provisioner",
            "/usr/bin/local-path-provisioner",
            '["/usr/bin/local-path-provisioner"]',
        ),
        Small("training-operator", settings.BIN / "training-operator.v1", "/manager", '["/manager"]'),
    )


def build_own() -> None:
    """Build the base image and the small ones, each only when its content changed.

    Raises:
        ClusterError: debootstrap or a build failed.
    """
    _build_base()
    for image in _small_images():
        key = hashlib.sha256(image.program.read_bytes() + repr(image).encode()).hexdigest()
        if not _built(image.name, image.reference, key):
            with shell.step(f"building image {image.name}"):
                _build_small(image)
            shell.write_atomically(settings.STAMPS / f"image-{image.name}", key)


def _built(name: str, reference: str, key: str) -> bool:
    stamp = settings.STAMPS / f"image-{name}"
    return stamp.exists() and stamp.read_text(encoding="utf-8") == key and buildah.exists(reference)


def push_own() -> None:
    """Push the base image and the small ones where the registry has them not or in another state.

    containerd must run: it forgets what it had under the name of an image that changed.
    """
    for name, reference in (("base", settings.BASE_IMAGE), *((each.name, each.reference) for each in _small_images())):
        stamp = settings.STAMPS / f"pushed-{name}"
        wanted = (settings.STAMPS / f"image-{name}").read_text(encoding="utf-8")
        held = buildah.pushed_digest(reference)
        if held is not None and stamp.exists() and stamp.read_text(encoding="utf-8") == f"{wanted} {held}":
            continue
        with shell.step(f"pushing image {name}"):
            digest = buildah.push(reference)
            node.forget_images(reference, keep={digest})
        shell.write_atomically(stamp, f"{wanted} {digest}")


def build_project(names: Sequence[str] = ()) -> dict[str, str]:
    """Build images of the project, push them, and return their references with digest by name.

    Args:
        names: which of `PROJECT`, the others being kept as they are; all of them when empty.

    Raises:
        ClusterError: the cluster is down, a Dockerfile is missing, or a build failed.
    """
    if processes.running("registry") is None:
        raise shell.ClusterError("the local registry does not run: `python3 tests/cluster up` first")
    if unknown := set(names) - set(PROJECT):
        raise shell.ClusterError(f"no such image: {', '.join(sorted(unknown))}; there are {', '.join(PROJECT)}")
    buildah.prune()
    references = _references()
    for name in names or PROJECT:
        path = settings.REPOSITORY / PROJECT[name]
        if not path.exists():
            raise shell.ClusterError(f"cannot build image {name}: there is no {PROJECT[name]}")
        reference = f"{settings.IMAGE_PREFIX}/{name}:local"
        with shell.step(f"building image {name}"):
            _build_project_image(reference, path)
        with shell.step(f"pushing image {name}"):
            references[name] = f"{reference.rpartition(':')[0]}@{buildah.push(reference)}"
        shell.write_atomically(_REFERENCES, json.dumps(references, indent=2) + "\n")
    buildah.prune()
    forget_stale()
    return {name: references[name] for name in names or PROJECT}


def _references() -> dict[str, str]:
    if not _REFERENCES.exists():
        return {}
    told: dict[str, str] = json.loads(_REFERENCES.read_text(encoding="utf-8"))
    return told


def _build_project_image(reference: str, dockerfile: Path) -> None:
    beside = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    ignore = beside if beside.exists() else settings.IMAGE_SOURCES / "project.dockerignore"
    buildah.build(
        reference,
        dockerfile,
        settings.REPOSITORY,
        arguments={"BASE_IMAGE": settings.BASE_IMAGE},
        ignore_file=ignore,
        network=True,
    )


def forget_stale() -> None:
    """Remove from containerd the project's images that the last `images` did not make: each may hold gigabytes."""
    keep = {reference.partition("@")[2] for reference in _references().values()}
    for name in PROJECT:
        node.forget_images(f"{settings.IMAGE_PREFIX}/{name}", keep=keep)


def _build_small(image: Small) -> None:
    context = settings.TEMPORARY / f"image-{image.name}"
    shutil.rmtree(context, ignore_errors=True)
    root = context / "root"
    target = root / image.path.lstrip("/")
    target.parent.mkdir(parents=True)
    shutil.copyfile(image.program, target)
    target.chmod(0o755)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    if image.links:
        for applet in shell.run([image.program, "--list"]).split():
            if not (target.parent / applet).exists():
                (target.parent / applet).symlink_to(target.name)
    dockerfile = context / "Dockerfile"
    start = "CMD" if image.links else "ENTRYPOINT"
    dockerfile.write_text(
        f"FROM scratch\nCOPY root/ /\nENV PATH=/bin:/usr/bin\n{start} {image.entry_point}\n", encoding="utf-8"
    )
    buildah.build(image.reference, dockerfile, context)
    shutil.rmtree(context)


def _build_base() -> None:
    key = hashlib.sha256(f"{_RELEASE} {_BASE_PACKAGES} {_BASE_DOCKERFILE} 1".encode()).hexdigest()
    if _built("base", settings.BASE_IMAGE, key):
        return
    with shell.step(f"building the base image (Debian {_RELEASE})"):
        context = settings.TEMPORARY / "image-base"
        shutil.rmtree(context, ignore_errors=True)
        root = context / "root"
        root.mkdir(parents=True)
        command: list[str | Path] = [
            "nice",
            "debootstrap",
            "--variant=minbase",
            f"--include={_BASE_PACKAGES}",
            _RELEASE,
            root,
            _mirror(),
        ]
        shell.run_logged(command, settings.LOGS / "debootstrap.log", timeout=1200)
        _trim(root)
        shell.run(
            ["tar", "-C", root, "--numeric-owner", "--one-file-system", "-cf", context / "rootfs.tar", "."], timeout=300
        )
        shutil.rmtree(root)
        (context / "Dockerfile").write_text(_BASE_DOCKERFILE, encoding="utf-8")
        buildah.build(settings.BASE_IMAGE, context / "Dockerfile", context)
        shutil.rmtree(context)
    shell.write_atomically(settings.STAMPS / "image-base", key)


def _trim(root: Path) -> None:
    """Make the tree what the public Python image is to a Dockerfile: `python` exists, pip may install, no caches."""
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    for cache in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
        for path in (root / cache).iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _mirror() -> str:
    """The Debian mirror this machine's own apt uses for the release, or the public one."""
    lines = shell.attempt(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    ).stdout
    for line in lines.splitlines():
        found = re.fullmatch(rf"(\S+?)/? {_RELEASE} main", line)
        if found:
            return found[1]
    return _PUBLIC_MIRROR
