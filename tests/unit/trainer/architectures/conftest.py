"""Architectures as a spec has them, and models of them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.resolve import resolve
from tunesmith_api.v1alpha1 import FineTuneJobSpec
from tunesmith_api.v1alpha1.architecture import Architecture

sys.path.insert(0, str(Path(__file__).resolve().parent))

from zoo import EVERY, SIZE, VOCABULARY

Resolved = Callable[[dict[str, Any]], Architecture]


@pytest.fixture(scope="session")
def resolved() -> Resolved:
    """Return a function that makes an architecture of a spec's fields, with all defaults."""

    def make(fields: dict[str, Any]) -> Architecture:
        wire = {
            "method": "pretrain",
            "model": {"architecture": SIZE | fields},
            "datasets": [{"claim": {"name": "data", "path": "text"}}],
        }
        profile = AcceleratorProfile(name="cpu", device="cpu", image="trainer")
        spec = resolve("FineTuneJob", "tiny", FineTuneJobSpec.model_validate(wire), profile, trains_adapter=False)
        assert spec.model.architecture is not None
        return spec.model.architecture

    return make


@pytest.fixture(scope="session")
def build(resolved: Resolved) -> Callable[[dict[str, Any]], Any]:
    """Return a function that makes a model of a spec's fields, with random weights."""

    def make(fields: dict[str, Any]) -> Any:
        from transformers import AutoModelForCausalLM, set_seed

        from tunesmith_trainer.models.architectures.choice import choose

        config = choose(resolved(fields)).config(VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=1)
        set_seed(7)
        return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()

    return make


@pytest.fixture(params=list(EVERY))
def model(request: pytest.FixtureRequest, build: Any) -> Any:
    """A model of each architecture in turn."""
    return build(EVERY[request.param])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread: tiny tensors are slower on several."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
