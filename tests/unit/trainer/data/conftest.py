"""What the data tests share: a folder of claims and ConfigMaps, and reading what was put there."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
from tunesmith_trainer.data.corpus import Corpora, open_corpora
from tunesmith_trainer.data.layout import Format

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "hub"))

from hub_server import HubServer, hub_of_this_process

ALL_FORMATS: tuple[Format, ...] = ("preference", "messages", "prompt-completion", "instruction", "text")


@dataclass(frozen=True)
class Folder:
    """Claims and ConfigMaps below one folder, in place of a pod's mounts."""

    root: Path

    def claim_path(self, claim: str, path: str = "") -> Path:
        return self.root / "claims" / claim / path

    def configmap_path(self, name: str, key: str) -> Path:
        return self.root / "configmaps" / name / key

    rank = 0
    local_rank = 0

    @property
    def run_directory(self) -> Path:
        folder = self.root / "run"
        folder.mkdir(exist_ok=True)
        return folder

    def put(self, name: str, content: Any) -> dict[str, Any]:
        """Write a file on the claim `data`, rows as JSON, and return the dataset that reads it."""
        path = self.claim_path("data", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
        return {"claim": {"name": "data", "path": name}}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub without anything on it, and an empty cache."""
    with hub_of_this_process(tmp_path / "hub-cache", monkeypatch) as server:
        yield server


OpenRows = Callable[..., Corpora]


@pytest.fixture
def open_rows(folder: Folder) -> OpenRows:
    """Open datasets, given as the spec has them."""

    def open_(
        *datasets: dict[str, Any],
        accepted: tuple[Format, ...] = ALL_FORMATS,
        evaluation: Any = None,
        processing: Any = None,
        token: bool = False,
    ) -> Corpora:
        spec = {
            "method": "sft",
            "model": {"path": {"claim": "models"}, "tokenSecretRef": {"name": "hub"} if token else None},
            "datasets": datasets,
            "evaluation": evaluation,
            "dataProcessing": processing or {},
        }
        return open_corpora(FineTuneJobSpec.model_validate(spec), folder, accepted)

    return open_
