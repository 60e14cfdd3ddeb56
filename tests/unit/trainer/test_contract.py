"""No field is accepted and ignored: operator or trainer read it, or hand it to a library that knows it by name."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from tunesmith_api.base import ApiModel
from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
from tunesmith_api.v1alpha1.pod_template import PodTemplate

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("operator/src", "trainer-image/src", "crds/src/tunesmith_api/resolve.py", "crds/src/tunesmith_api/run.py")


def blocks_of(annotation: Any) -> Iterator[type[ApiModel]]:
    """Yield the models that an annotation holds."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for part in get_args(annotation):
        yield from blocks_of(part)


def fields_of(model: type[ApiModel], seen: set[type[ApiModel]]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a model and of all blocks in it, each with the name of its model."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        yield model.__name__, name
        for block in blocks_of(field.annotation):
            yield from fields_of(block, seen)


@pytest.fixture(scope="module")
def words() -> set[str]:
    """Every name in the sources that run."""
    files = [
        file
        for place in SOURCES
        for file in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
    ]
    return {word for file in files for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def handed_over() -> set[str]:
    """The arguments of what blocks are handed to as a whole, under the libraries' names."""
    import peft
    import torch
    import transformers
    import trl
    from torch.utils.checkpoint import checkpoint
    from transformers import optimization

    configs = (trl.SFTConfig, trl.DPOConfig, trl.KTOConfig, trl.RewardConfig, trl.GRPOConfig, trl.RLOOConfig)
    adapters = (peft.LoraConfig, peft.IA3Config, peft.PromptTuningConfig)
    names = {field.name for config in (*configs, *adapters) for field in dataclasses.fields(config)}
    schedules = [function for name, function in vars(optimization).items() if name.startswith("get_")]
    takers = [*schedules, torch.optim.lr_scheduler.ReduceLROnPlateau, optimization.Adafactor, checkpoint]
    for taker in [*takers, transformers.BitsAndBytesConfig]:
        names |= set(inspect.signature(taker).parameters)
    return names | {name.removeprefix("vllm_") for name in names}


def test_every_field_is_read_or_handed_over(words: set[str], handed_over: set[str]) -> None:
    # What a pod is made of goes to the API server, which refuses what it does not know.
    seen: set[type[ApiModel]] = set()
    assert list(fields_of(PodTemplate, seen))
    fields = [*fields_of(FineTuneJobSpec, seen), *fields_of(AlignmentJobSpec, seen)]
    assert len(fields) > 300
    unread = [f"{model}.{name}" for model, name in fields if name not in words | handed_over]
    assert unread == []
