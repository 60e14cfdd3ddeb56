"""Models of other architectures."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath


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
