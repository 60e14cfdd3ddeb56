"""The manifest that makes a folder on a claim count: its files with sizes and SHA-256, written last."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel
from tunesmith_api.v1alpha1.methods.base import Task
from tunesmith_api.v1alpha1.model import JobKind

MANIFEST_FILE = "manifest.json"


class ManifestFile(ApiModel):
    """One file of the folder."""

    path: Annotated[str, Field(description="Path below the folder, with forward slashes.")]
    size: Annotated[int, Field(ge=0, description="Size in bytes.")]
    sha256: Annotated[str, Field(min_length=64, max_length=64, description="SHA-256 in hexadecimal.")]


class Manifest(ApiModel):
    """Which job wrote a folder, at which step, and every file in it."""

    artifact: Literal["checkpoint", "adapter", "model"]
    task: Annotated[
        Task | None, Field(description="What an output is made for, in PEFT's terms. Absent of a checkpoint.")
    ] = None
    kind: JobKind
    namespace: str
    name: str
    uid: str
    run_id: str
    attempt: int
    step: int
    created: str
    files: tuple[ManifestFile, ...]

    @property
    def size_bytes(self) -> int:
        """Size of all files, in bytes."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """`sha256:` over the list of files: equal digests mean equal contents."""
        listing = json.dumps([[file.path, file.size, file.sha256] for file in sorted(self.files, key=lambda f: f.path)])
        return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
