"""LoRA adapters: new ones, and those of an earlier job trained further."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec, ModelNotFound
from tunesmith_trainer.models.folders import ADAPTER_CONFIG
from tunesmith_trainer.models.tokenizers import first_line

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

    from tunesmith_api.v1alpha1.peft import Lora
    from tunesmith_trainer.models.folders import Folder

ALL_LINEAR = "all-linear"
ADAPTER = "default"  # the name peft and TRL give the adapter that is trained


def lora_config(lora: Lora, model: PreTrainedModel) -> LoraConfig:
    """Return peft's config of a new adapter.

    Raises:
        InvalidSpec: A target module does not exist in the model, or is its output head.
    """
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=sorted(target_modules(lora, model)),
    )


def target_modules(lora: Lora, model: PreTrainedModel) -> set[str]:
    """Return the names of the modules that get an adapter.

    Raises:
        InvalidSpec: One does not exist in the model, or is its output head; peft silently leaves out what it lacks.
    """
    linear = linear_modules(model)
    if lora.target_modules == (ALL_LINEAR,):
        return linear
    for place, name in enumerate(lora.target_modules):
        if name not in linear:
            raise InvalidSpec(
                f"spec.peft.lora.targetModules[{place}]: the model has no linear module {name!r} that can be adapted;"
                f" it has {', '.join(sorted(linear))}"
            )
    return set(lora.target_modules)


def linear_modules(model: PreTrainedModel) -> set[str]:
    """Return the last names of the model's linear layers without its output head."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    }


def continue_adapter(model: PreTrainedModel, folder: Folder, lora: Lora | None) -> PeftModel:
    """Return the model with an earlier job's adapter, to be trained further.

    Args:
        model: The adapter's base model.
        folder: The adapter's folder.
        lora: The spec's block; it may set the dropout, and must agree with the adapter in everything else.

    Raises:
        ModelNotFound: The adapter can not be loaded, or does not fit the base model.
        InvalidSpec: The spec asks for another adapter than there is.
    """
    from peft import LoraConfig, PeftModel

    config = read_config(folder)
    if lora is not None:
        _require_same(lora, config, model)
        config.lora_dropout = lora.lora_dropout
    try:
        peft_model = PeftModel.from_pretrained(
            model, folder.path, adapter_name=ADAPTER, is_trainable=True, config=config, local_files_only=True
        )
    # Shapes that do not fit, missing weights and damaged files come as four types of three libraries.
    except Exception as error:
        raise ModelNotFound(f"{folder.name} does not fit its base model: {first_line(error)}") from error
    if not isinstance(peft_model.peft_config[ADAPTER], LoraConfig):
        raise ModelNotFound(f"{folder.name} is no LoRA adapter; use fromAdapter: merge")
    return peft_model


def restore_dropout(model: PeftModel, probability: float) -> None:
    """Turn the dropout of the trained adapter on again, which TRL's DPO sets to zero in all of the model.

    The frozen copy that serves as the reference stays without: its log-probabilities must not be drawn.
    """
    from peft.tuners.lora import LoraLayer
    from torch import nn

    for module in model.modules():
        if isinstance(module, LoraLayer) and isinstance(module.lora_dropout[ADAPTER], nn.Dropout):
            module.lora_dropout[ADAPTER].p = probability


def read_config(folder: Folder) -> LoraConfig:
    """Return the config of an adapter's folder.

    Raises:
        ModelNotFound: It can not be read, or is no LoRA adapter.
    """
    from peft import PeftConfig

    folder.require_adapter()
    try:
        kind = json.loads((folder.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))["peft_type"]
        config = PeftConfig.from_pretrained(folder.path, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotFound(
            f"{folder.name} has an {ADAPTER_CONFIG} that can not be read: {first_line(error)}"
        ) from error
    if kind != "LORA":
        raise ModelNotFound(f"{folder.name} is an adapter of type {kind}; only LORA can be trained further")
    return config


def _require_same(lora: Lora, config: LoraConfig, model: PreTrainedModel) -> None:
    wanted = {"r": lora.r, "loraAlpha": lora.lora_alpha, "targetModules": sorted(target_modules(lora, model))}
    existing = {
        "r": config.r,
        "loraAlpha": config.lora_alpha,
        "targetModules": _last_names(config.target_modules),
    }
    for field, value in wanted.items():
        if value != existing[field]:
            raise InvalidSpec(
                f"spec.peft.lora.{field} is {value}, and the adapter of model.fromJob has {existing[field]}; with"
                " fromAdapter: continue that adapter is trained further as it is: remove peft, or use"
                " fromAdapter: merge for a new adapter"
            )


def _last_names(targets: str | set[str]) -> str | list[str]:
    """Return the modules an adapter's config names, which may also be a pattern."""
    return targets if isinstance(targets, str) else sorted({name.rpartition(".")[2] for name in targets})
