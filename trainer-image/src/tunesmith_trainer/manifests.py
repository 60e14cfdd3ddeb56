"""Folders that count: sealed with a manifest written last, and verified before they are used."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from tunesmith_api.manifest import MANIFEST_FILE, Manifest, ManifestFile

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith_api.v1alpha1.methods.base import Task
    from tunesmith_trainer.context import RunContext

_BLOCK_BYTES = 1 << 20
_log = logging.getLogger(__name__)

Artifact = Literal["checkpoint", "adapter", "model"]


def seal(folder: Path, artifact: Artifact, step: int, context: RunContext, *, task: Task | None = None) -> Manifest:
    """Write the manifest of a folder, after every file in it has reached the volume.

    Args:
        folder: The folder.
        artifact: What is in it.
        step: The step it is from.
        context: The run.
        task: What an output is made for.
    """
    run = context.run
    _open_to_group(folder)
    manifest = Manifest(
        artifact=artifact,
        task=task,
        kind=run.kind,
        namespace=run.namespace,
        name=run.name,
        uid=run.uid,
        run_id=run.run_id,
        attempt=context.attempt,
        step=step,
        created=utc_now(),
        files=tuple(
            ManifestFile(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=sync_and_hash(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != MANIFEST_FILE
        ),
    )
    write_atomically(folder / MANIFEST_FILE, json.dumps(manifest.to_wire(), indent=1))
    return manifest


def _open_to_group(folder: Path) -> None:
    """Let pods under another UID read a folder: all have group 0, and safetensors writes for the owner alone."""
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        wanted = mode | stat.S_IRGRP | stat.S_IWGRP | (stat.S_IXGRP if path.is_dir() else 0)
        if wanted == mode:
            continue
        try:
            path.chmod(wanted)
        except OSError as error:
            # Some file systems have no modes of their own; there the mount's options decide who reads.
            _log.warning("the mode of %s can not be set: %s", path, error.strerror)
            return


def read_manifest(folder: Path) -> Manifest | None:
    """Return a folder's manifest, None when it has none that can be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def damage(folder: Path, manifest: Manifest) -> str | None:
    """Return what is wrong with a sealed folder, None when every file is as the manifest says."""
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            return f"{file.path} is missing"
        if path.stat().st_size != file.size:
            return f"{file.path} has {path.stat().st_size} bytes, not {file.size}"
        if file_digest(path) != file.sha256:
            return f"{file.path} has other contents"
    return None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sync_and_hash(path: Path) -> str:
    """Return the SHA-256 of a file, once its contents are on the volume."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return file_digest(path)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the whole new one, whatever happens."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Make renames in a folder survive a crash of the node."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def utc_now() -> str:
    """Return the time as RFC 3339, whole seconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
