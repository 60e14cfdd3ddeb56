"""Model and adapter folders on claims: named, looked through and checked before anything is loaded from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.manifest import MANIFEST_FILE
from tunesmith_api.pod import claim_path
from tunesmith_api.v1alpha1.status import HubModel
from tunesmith_trainer.errors import ModelNotFound, first_line
from tunesmith_trainer.manifests import damage, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith_api.v1alpha1.status import VolumePath
    from tunesmith_trainer.data.sources import Mounts

MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
GENERATION_CONFIG = "generation_config.json"
MODEL_WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = f"{MODEL_WEIGHTS}.index.json"  # of several files


@dataclass(frozen=True)
class Folder:
    """A folder on a claim, or what was fetched of a Hub repository.

    Attributes:
        place: Claim and path, or the repository and its commit.
        path: Where its files are.
        role: What it is to the job, for messages, such as `the base model`.
    """

    place: VolumePath | HubModel
    path: Path
    role: str

    @classmethod
    def find(cls, volume: VolumePath, mounts: Mounts, role: str) -> Folder:
        """Return the folder at a place.

        Raises:
            ModelNotFound: There is none.
        """
        folder = cls(volume, mounts.claim_path(volume.claim, volume.path), role)
        if not folder.path.is_dir():
            raise ModelNotFound(
                f"{folder.name} does not exist; correct the path or copy the model there with save_pretrained"
            )
        return folder

    @property
    def name(self) -> str:
        """The folder as the user knows it."""
        if isinstance(self.place, HubModel):
            return f"{self.role} ({self.place.name} at commit {self.place.revision[:12]})"
        return f"{self.role} (claim {self.place.claim}, path {self.place.path or '/'})"

    @property
    def reference(self) -> str:
        """What an adapter's config names as its base: the path in every pod of the job, or the Hub's id."""
        if isinstance(self.place, HubModel):
            return self.place.name
        return claim_path(self.place.claim, self.place.path)

    def require_model(self) -> None:
        """Refuse a folder without a model.

        Raises:
            ModelNotFound: A file is missing.
        """
        if (self.path / ADAPTER_CONFIG).is_file() and not (self.path / MODEL_CONFIG).is_file():
            raise ModelNotFound(f"{self.name} is an adapter; use model.fromJob, or the folder of its base model")
        self._require((MODEL_CONFIG,), "it is no model folder as save_pretrained writes it")
        self._require((MODEL_WEIGHTS, WEIGHTS_INDEX), "save the weights as safetensors, with save_pretrained")

    def require_adapter(self) -> None:
        """Refuse a folder without an adapter.

        Raises:
            ModelNotFound: A file is missing.
        """
        self._require((ADAPTER_CONFIG,), "it is no adapter folder as peft writes it")
        self._require((ADAPTER_WEIGHTS,), "save the adapter as safetensors, with save_pretrained")

    def weight_names(self, file: str) -> list[str]:
        """Return the names of the weights in a file, whose header also tells how long it must be.

        Raises:
            ModelNotFound: The file is missing or cut off.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path / file, framework="pt") as weights:
                return list(weights.keys())
        except (OSError, SafetensorError) as error:
            raise ModelNotFound(
                f"{self.name}: {file} can not be read: {first_line(error)}; copy the whole folder"
            ) from error

    def _require(self, names: tuple[str, ...], remedy: str) -> None:
        if not any((self.path / name).is_file() for name in names):
            raise ModelNotFound(f"{self.name} has no {' or '.join(names)}; {remedy}")

    def change_since(self, digest: str) -> str | None:
        """Return what has changed in an earlier job's output since it was Complete, None when nothing has.

        Args:
            digest: Digest of the manifest, as the operator was told then.
        """
        manifest = read_manifest(self.path)
        if manifest is None:
            return f"it has no readable {MANIFEST_FILE}"
        if manifest.digest != digest:
            return f"it has the digest {manifest.digest}, not {digest}"
        return damage(self.path, manifest)
