"""Which files a dataset of the spec names, and what to call them in messages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tunesmith_trainer.errors import DataError
from tunesmith_trainer.manifests import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tunesmith_api.v1alpha1.datasets import ClaimSource, ConfigMapSource, Dataset

SUFFIXES = (".txt", ".json", ".jsonl")


class Mounts(Protocol):
    """Where claims and ConfigMaps are mounted."""

    def claim_path(self, claim: str, path: str = "") -> Path:
        """Return where a path of a claim is found."""

    def configmap_path(self, name: str, key: str) -> Path:
        """Return where a key of a ConfigMap is found."""


@dataclass(frozen=True)
class SourceFile:
    """One file of rows.

    Attributes:
        name: The file as the user wrote it, for messages.
        path: Where it is mounted.
    """

    name: str
    path: Path

    @property
    def suffix(self) -> str:
        """The ending that tells the file type, in lower case."""
        return self.path.suffix.lower()

    @property
    def is_text(self) -> bool:
        """Whether the rows are paragraphs of plain text."""
        return self.suffix == ".txt"


def source_files(dataset: Dataset, mounts: Mounts) -> tuple[SourceFile, ...]:
    """Return the files of a dataset, in reading order.

    Raises:
        DataError: Nothing readable is at the place that the dataset names.
    """
    if dataset.claim is not None:
        return _claim_files(dataset.claim, mounts)
    if dataset.config_map is not None:
        return (_configmap_file(dataset.config_map, mounts),)
    raise DataError("a dataset names no source; set claim or configMap")


def _configmap_file(source: ConfigMapSource, mounts: Mounts) -> SourceFile:
    file = SourceFile(f"key {source.key} of ConfigMap {source.name}", mounts.configmap_path(source.name, source.key))
    if not file.path.is_file():
        raise DataError(f"{file.name} does not exist; add the key to the ConfigMap or correct the dataset's key")
    return file


def _claim_files(source: ClaimSource, mounts: Mounts) -> tuple[SourceFile, ...]:
    root = mounts.claim_path(source.name, source.path)
    name = f"file {source.path} of claim {source.name}"
    if root.is_dir():
        return _folder_files(source, root)
    if not root.is_file():
        raise DataError(f"{name} does not exist; correct the dataset's path or put the file on the claim")
    file = SourceFile(name, root)
    if file.suffix not in SUFFIXES:
        raise DataError(f"{name}: the ending tells the file type; rename it to one of {', '.join(SUFFIXES)}")
    return (file,)


def _folder_files(source: ClaimSource, root: Path) -> tuple[SourceFile, ...]:
    paths = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise DataError(
            f"folder {source.path} of claim {source.name} holds no {', '.join(SUFFIXES)} file;"
            " put the files directly into it or correct the dataset's path"
        )
    return tuple(SourceFile(f"file {source.path}/{path.name} of claim {source.name}", path) for path in paths)


def digest_of(parts: Iterable[tuple[Dataset, tuple[SourceFile, ...]]], *more: str) -> str:
    """Return `sha256:` over the bytes of every file and over how they are read.

    Args:
        parts: The datasets and their files, in reading order.
        more: Whatever else decides which rows are trained on, such as the split.
    """
    digest = hashlib.sha256()
    for dataset, files in parts:
        # Where the bytes lie does not matter, only how they are read: moved data is the same data.
        digest.update(dataset.model_dump_json(exclude={"claim", "config_map"}).encode())
        for file in files:
            digest.update(f"\n{file.suffix} {file_digest(file.path)}".encode())
    digest.update("\n".join(more).encode())
    return f"sha256:{digest.hexdigest()}"
