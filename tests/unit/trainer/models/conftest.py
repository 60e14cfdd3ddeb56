"""Models of other architectures; the Hub's stand-in on the path, and as the Hub of the libraries of this process."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "hub"))

from hub_server import HubServer, hub_of_this_process


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub without anything on it, and an empty cache."""
    with hub_of_this_process(tmp_path / "hub-cache", monkeypatch) as server:
        yield server


@pytest.fixture
def other(lab: Any, model_folder: Path) -> Callable[..., ResolvedModel]:
    """Makes a model of another architecture, with random weights and the tokenizer of the pretrained one."""

    def make(kind: str, **config: Any) -> ResolvedModel:
        from transformers import AutoConfig, AutoModelForCausalLM, set_seed

        folder = lab.path("models", kind)
        shutil.copytree(model_folder, folder)
        sizes = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        set_seed(1)
        AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes | config)).save_pretrained(folder)
        return ResolvedModel(base=VolumePath(claim="models", path=kind))

    return make
