"""A tiny model that nobody has trained, and preparations of jobs that use it."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.progress import Outcome
from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.architecture import TrainedTokenizer
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.preparation.program import prepared

MODEL = ResolvedModel(base=VolumePath(claim="models", path="tiny"))
ROWS = [{"prompt": f"{number} + 1 = ", "completion": f"{number + 1}"} for number in range(40)]
VOCABULARY = 300
Prepare = Callable[..., Outcome]


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Llama of random weights with a tokenizer, 64 positions long; made once."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tunesmith_trainer.models.trained_tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("untrained")
    texts = (f"{row['prompt']}{row['completion']}" for row in ROWS)
    tokenizer = train_tokenizer(texts, TrainedTokenizer(vocab_size=VOCABULARY), 64)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def model_folder(lab: Any, untrained: Path) -> Path:
    """The model's folder on the claim of the test."""
    folder: Path = lab.path("models", "tiny")
    shutil.copytree(untrained, folder)
    return folder


@pytest.fixture
def prepare(lab: Any, model_folder: Path) -> Prepare:
    """Prepares a job, LoRA on prompts and completions unless told otherwise, and returns how that ended.

    `beside` are the frozen run's models beside the one that is trained.
    """

    def run(
        datasets: list[dict[str, Any]] | None = None,
        *,
        resolved: ResolvedModel = MODEL,
        name: str = "job",
        device_memory: str | None = None,
        beside: dict[str, Any] | None = None,
        **more: Any,
    ) -> Outcome:
        spec = {
            "method": "sft",
            "model": {"path": {"claim": "models", "path": "tiny"}},
            "datasets": datasets or [lab.put("rows.jsonl", ROWS)],
            "peft": {"lora": {"r": 4}},
            **more,
            "training": {"maxLength": 32, "maxSteps": 1, **more.get("training", {})},
        }
        context = lab.context(name, {key: value for key, value in spec.items() if value is not None}, resolved)
        profile = context.run.profile.model_copy(update={"device_memory": device_memory})
        update = {"profile": profile, **(beside or {})}
        return prepared(dataclasses.replace(context, run=context.run.model_copy(update=update)))

    return run
