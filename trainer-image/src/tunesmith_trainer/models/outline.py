"""A model without its weights: everything about it that can be told, and refused, before a device is there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.peft import Lora, Peft
from tunesmith_api.v1alpha1.status import HubModel
from tunesmith_trainer.errors import ModelNotFound, first_line
from tunesmith_trainer.models import adapters
from tunesmith_trainer.models.architectures.choice import new_config
from tunesmith_trainer.models.architectures.registration import register
from tunesmith_trainer.models.causal import require_causal
from tunesmith_trainer.models.classifier import has_score_head
from tunesmith_trainer.models.folders import MODEL_WEIGHTS, WEIGHTS_INDEX
from tunesmith_trainer.models.memory import ModelShape, meta_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.methods.base import Task
    from tunesmith_trainer.models.folders import Folder
    from tunesmith_trainer.models.prepare import ModelPlan


@dataclass(frozen=True)
class Outline:
    """What is known of a model without its weights.

    Attributes:
        shape: Its size, with the adapter that is trained.
        adapted: Its size with a new LoRA adapter, where one could be trained in place of all its weights.
    """

    shape: ModelShape
    adapted: ModelShape | None


def outline(plan: ModelPlan, tokenizer: PreTrainedTokenizerBase) -> Outline:
    """Return what is known of a run's model, checked as `ModelPlan.load` checks it.

    Args:
        plan: Where the model comes from.
        tokenizer: Its tokenizer.

    Raises:
        ModelNotFound: The model is not whole, or can not be loaded.
        InvalidSpec: It can not be trained as the spec says.
    """
    import torch

    model = _without_weights(plan, tokenizer)
    with torch.device("meta"):
        added = plan.fit(model, tokenizer)
    config = plan.adapter_config(model, added)
    adapted = None
    if config is None and plan.base is not None and plan.context.run.spec.method != "pretrain":
        adapted = ModelShape.of(model, adapters.new_config(Peft(lora=Lora()), model, plan.base))
    return Outline(ModelShape.of(model, config), adapted)


def _without_weights(plan: ModelPlan, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    run = plan.context.run
    if plan.base is not None:
        return without_weights(plan.base, run.task, trusted=run.spec.model.trust_remote_code)
    if run.spec.model.architecture is None:
        raise ValueError("a frozen run names neither a base model nor an architecture")
    return meta_model(new_config(run.spec.model.architecture, tokenizer))


def without_weights(folder: Folder, task: Task, *, trusted: bool) -> PreTrainedModel:
    """Return the model of a folder without data, checked as it is when it is loaded.

    Args:
        folder: The model's folder.
        task: What it is loaded for: a classifier may have no score head yet.
        trusted: Whether code in the folder may be run.

    Raises:
        ModelNotFound: It is not whole, or can not be loaded.
        InvalidSpec: It is another kind of model, or needs code that may not be run.
    """
    from transformers import AutoConfig

    register()
    if task == "CAUSAL_LM":
        require_causal(folder, trusted=trusted)
    else:
        has_score_head(folder, trusted=trusted)
    if not isinstance(folder.place, HubModel):  # what is fetched is checked when it is fetched
        _require_readable(folder)
    try:
        config = AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=trusted)
        if task == "SEQ_CLS":
            config.num_labels = 1
        return meta_model(config, task, trusted=trusted)
    # What a damaged config raises is the business of two libraries; a fault of ours would show with any model.
    except Exception as error:
        raise ModelNotFound(f"{folder.name} can not be loaded: {first_line(error)}") from error


def _require_readable(folder: Folder) -> None:
    """Refuse weights of which a file is missing or cut off; their headers tell how long they must be."""
    for name in _weight_files(folder):
        folder.weight_names(name)


def _weight_files(folder: Folder) -> list[str]:
    if (folder.path / MODEL_WEIGHTS).is_file():
        return [MODEL_WEIGHTS]
    try:
        index: dict[str, Any] = json.loads((folder.path / WEIGHTS_INDEX).read_text(encoding="utf-8"))
        return sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelNotFound(
            f"{folder.name}: {WEIGHTS_INDEX} can not be read: {first_line(error)}; copy the whole folder"
        ) from error
