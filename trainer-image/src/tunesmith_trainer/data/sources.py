"""Which files a dataset of the spec names, and what to call them in messages."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tunesmith_trainer.data.compression import COMPRESSIONS
from tunesmith_trainer.data.raw import denied
from tunesmith_trainer.data.splits import belongs_to, names_of, splits_of
from tunesmith_trainer.errors import DataError, readable
from tunesmith_trainer.manifests import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tunesmith_api.v1alpha1.datasets import Dataset

_TEXTUAL = (".txt", ".json", ".jsonl", ".csv", ".tsv")
_BINARY = (".parquet", ".arrow")
_ENDINGS = f"{', '.join((*_TEXTUAL, *_BINARY))}, or one of the first five with {' or '.join(COMPRESSIONS)} after it"
# What `datasets` writes next to the rows; nobody's data is called so.
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_SHOWN = 5


class Mounts(Protocol):
    """Where a process finds claims and ConfigMaps, and what tells it from the others."""

    def claim_path(self, claim: str, path: str = "") -> Path:
        """Return where a path of a claim is found."""

    def configmap_path(self, name: str, key: str) -> Path:
        """Return where a key of a ConfigMap is found."""

    @property
    def run_directory(self) -> Path:
        """The run's folder, where it writes down what it uses."""

    @property
    def rank(self) -> int:
        """Rank of this process among all."""

    @property
    def local_rank(self) -> int:
        """Rank of this process on its node."""


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
    def compression(self) -> str:
        """The ending that tells how the file is compressed, in lower case; empty for a plain one."""
        suffix = self.path.suffix.lower()
        return suffix if suffix in COMPRESSIONS else ""

    @property
    def kind(self) -> str:
        """The ending that tells the file type, in lower case; empty for a type that is not read."""
        path = self.path.with_suffix("") if self.compression else self.path
        suffix = path.suffix.lower()
        return suffix if suffix in _TEXTUAL or (suffix in _BINARY and not self.compression) else ""


def source_files(dataset: Dataset, mounts: Mounts) -> tuple[SourceFile, ...]:
    """Return the files of a dataset, in reading order.

    Raises:
        DataError: Nothing readable is at the place that the dataset names.
    """
    if dataset.claim is not None:
        claim = dataset.claim
        root = mounts.claim_path(claim.name, claim.path)
        return files_at(root, dataset.split, claim.path, f" of claim {claim.name}")
    if dataset.config_map is not None:
        return (configmap_file(dataset.config_map.name, dataset.config_map.key, mounts),)
    raise DataError("a dataset names no source; set hub, claim, configMap or uri")


def configmap_file(name: str, key: str, mounts: Mounts) -> SourceFile:
    """Return a key of a ConfigMap as a file.

    Raises:
        DataError: The ConfigMap has no such key.
    """
    file = SourceFile(f"key {key} of ConfigMap {name}", mounts.configmap_path(name, key))
    if not file.path.is_file():
        raise DataError(f"{file.name} does not exist; add the key to the ConfigMap or correct the dataset's key")
    return file


def files_at(root: Path, split: str | None, path: str, owner: str = "") -> tuple[SourceFile, ...]:
    """Return the file at a path, or the files of the folder there.

    Args:
        root: Where it is found.
        split: The split to read of a folder.
        path: What the user calls it.
        owner: What it is part of, such as ` of claim data`, for messages.

    Raises:
        DataError: Nothing readable is there.
    """
    try:
        return _files_at(root, split, path, owner)
    except PermissionError as error:
        raise denied(f"{path}{owner}") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise DataError(
            f"file {path}{owner} has a longer name than a file can have; correct the dataset's path"
        ) from error


def _files_at(root: Path, split: str | None, path: str, owner: str) -> tuple[SourceFile, ...]:
    if root.is_dir():
        return _folder_files(root, split, path, owner)
    name = f"file {path}{owner}"
    if not root.is_file():
        raise DataError(f"{name} does not exist; correct the dataset's path or put the file there")
    if split is not None:
        raise DataError(f"{name} is one file, and splits are told by the files of a folder; remove split")
    file = SourceFile(name, root)
    if not file.kind:
        raise DataError(f"{name}: the ending tells the file type; rename it to one of {_ENDINGS}")
    return (file,)


def _folder_files(root: Path, split: str | None, path: str, owner: str) -> tuple[SourceFile, ...]:
    """Return the files right in a folder; with a split those of it, in subfolders too."""
    folder = f"folder {path}{owner}"
    found = sorted(each for each in (root.iterdir() if split is None else root.rglob("*")) if each.is_file())
    inside = [each.relative_to(root) for each in found if each.name not in METADATA]
    prefix = f"file {path.rstrip('/')}/"
    files = {each: SourceFile(f"{prefix}{readable(str(each))}{owner}", root / each) for each in inside}
    data = {each: file for each, file in files.items() if file.kind}
    if not data:
        raise DataError(
            f"{folder} holds no data file ({_ENDINGS}); put the files directly into it or correct the dataset's path"
        )
    if split is not None:
        return _files_of_split(data, split, folder)
    splits = set().union(*map(splits_of, data))
    if len(splits) > 1:
        raise DataError(
            f"{folder} holds the splits {', '.join(sorted(splits))}, and all of it would be read as one; name one of"
            " them in the dataset's split"
        )
    return tuple(data.values())


def _files_of_split(data: dict[Path, SourceFile], split: str, where: str) -> tuple[SourceFile, ...]:
    chosen = tuple(file for path, file in data.items() if belongs_to(path, split))
    if not chosen:
        names = ", ".join(readable(str(path)) for path in list(data)[:_SHOWN])
        raise DataError(
            f"{where} has no file of split {split}: none is named {' or '.join(names_of(split))}, as in {split}.jsonl"
            f" or {split}/a.jsonl (found: {names}); correct the split or rename the files"
        )
    return chosen


def digest_of(parts: Iterable[tuple[Dataset, tuple[SourceFile, ...]]], *more: str) -> str:
    """Return `sha256:` over the bytes of every file and over how they are read.

    Args:
        parts: The datasets and their files, in reading order.
        more: Whatever else decides which rows are trained on, such as the split.
    """
    digest = hashlib.sha256()
    for dataset, files in parts:
        # Where the bytes lie does not matter, only how they are read: moved data is the same data.
        digest.update(dataset.model_dump_json(exclude={"hub", "claim", "config_map", "uri"}).encode())
        for file in files:
            digest.update(f"\n{file.kind}{file.compression} {file_digest(file.path)}".encode())
    digest.update("\n".join(more).encode())
    return f"sha256:{digest.hexdigest()}"
