"""LoRA, with all its variants that need neither data nor gradients to begin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.models.adapters.modules import (
    ends_with,
    last_names,
    linear_modules,
    listed,
    require_linear,
    targeted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peft import LoraConfig
    from transformers import PreTrainedModel

    from tunesmith_api.v1alpha1.peft import Lora, Peft
    from tunesmith_trainer.models.folders import Folder

ALL_LINEAR = "all-linear"
_DEFAULT_INIT = "default"


def new_config(peft: Peft, model: PreTrainedModel, base: Folder) -> LoraConfig:
    """Return peft's config of a new adapter; see `AdapterType.new_config`."""
    from peft import LoraConfig

    del base
    lora = _block(peft)
    targets = target_modules(lora, model)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=sorted(targets),
        bias=lora.bias,
        use_dora=lora.use_dora,
        use_rslora=lora.use_rslora,
        rank_pattern=dict(lora.rank_pattern or {}),
        alpha_pattern=dict(lora.alpha_pattern or {}),
        layers_to_transform=_list(lora.layers_to_transform),
        layers_pattern=lora.layers_pattern,
        init_lora_weights=lora.init_lora_weights == _DEFAULT_INIT or lora.init_lora_weights,
        **_modules_to_save(lora, model),
    )
    adapted = _adapted(lora, config, model)
    for field, pattern in (("rankPattern", lora.rank_pattern), ("alphaPattern", lora.alpha_pattern)):
        _require_matches(pattern or {}, adapted, field)
    _require_biases(lora, adapted, model)
    return config


def target_modules(lora: Lora, model: PreTrainedModel) -> set[str]:
    """Return the names of the modules that get an adapter.

    Raises:
        InvalidSpec: One does not exist in the model, or is its output head.
    """
    if lora.target_modules == (ALL_LINEAR,):
        return last_names(linear_modules(model)) - set(lora.modules_to_save or ())
    require_linear(model, lora.target_modules, "lora.targetModules")
    return set(lora.target_modules)


def lora_b_ratio(peft: Peft | None) -> float:
    """Return how many times faster the second matrices of LoRA learn than all else that is trained."""
    lora = None if peft is None else peft.lora
    return 1.0 if lora is None or lora.loraplus_lr_ratio is None else lora.loraplus_lr_ratio


def _block(peft: Peft) -> Lora:
    if peft.lora is None:
        raise ValueError("a LoRA adapter needs its block")
    return peft.lora


def _list(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _adapted(lora: Lora, config: LoraConfig, model: PreTrainedModel) -> list[str]:
    """Return the full names of the modules that peft will adapt.

    Raises:
        InvalidSpec: `layersToTransform` leaves none of them, or names a layer that is not there.
    """
    from peft.tuners.tuners_utils import check_target_module_exists

    names = [name for name in linear_modules(model) if check_target_module_exists(config, name)]
    layers = model.config.get_text_config().num_hidden_layers
    for place, layer in enumerate(lora.layers_to_transform or ()):
        if layer >= layers:
            raise InvalidSpec(
                f"spec.peft.lora.layersToTransform[{place}] is {layer}, and the model has the layers 0 to {layers - 1}"
            )
    if not names:
        raise InvalidSpec(
            "spec.peft.lora: no module is left to adapt; layersToTransform, layersPattern and modulesToSave exclude all"
            f" of {listed(target_modules(lora, model))}"
        )
    return names


def _require_matches(pattern: dict[str, int], adapted: list[str], field: str) -> None:
    """Refuse a pattern that fits no adapted module; peft leaves it out."""
    for key in pattern:
        try:
            # As peft.utils.get_pattern_key matches.
            fits = any(re.match(rf"(.*\.)?({key})$", name) for name in adapted)
        except re.error as error:
            raise InvalidSpec(f"spec.peft.lora.{field}: {key!r} is no regular expression: {error}") from error
        if not fits:
            raise InvalidSpec(
                f"spec.peft.lora.{field}: {key!r} fits none of the adapted modules, such as {adapted[0]};"
                f" they end in {listed(last_names(adapted))}"
            )


def _require_biases(lora: Lora, adapted: list[str], model: PreTrainedModel) -> None:
    """Refuse to train biases where there are none."""
    if lora.bias == "none":
        return
    biases = [name.removesuffix(".bias") for name, _ in model.named_parameters() if name.endswith(".bias")]
    if not biases:
        raise InvalidSpec(f"spec.peft.lora.bias: {lora.bias} would train nothing: the model has no biases; remove it")
    if lora.bias == "lora_only" and not set(biases) & set(adapted):
        raise InvalidSpec(
            "spec.peft.lora.bias: lora_only would train nothing: of the model's biases, in"
            f" {listed(last_names(biases))}, none is in an adapted module; use all, or remove it"
        )


def _modules_to_save(lora: Lora, model: PreTrainedModel) -> dict[str, Any]:
    """Return peft's settings about modules that are trained whole.

    Raises:
        InvalidSpec: A name fits no module, or more than it says.
    """
    if lora.modules_to_save is None:
        return {}
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    for place, end in enumerate(lora.modules_to_save):
        field = f"spec.peft.lora.modulesToSave[{place}]"
        if not targeted(names, (end,)):
            raise InvalidSpec(f"{field}: the model has no module {end!r}; it has {listed(last_names(names))}")
        # peft takes every name with these last letters: `norm` would be every `input_layernorm` too.
        others = [name for name in names if name.endswith(end) and not ends_with(name, end)]
        if others:
            raise InvalidSpec(
                f"{field}: {end!r} also ends the name of {others[0]}; write the full name, such as"
                f" {targeted(names, (end,))[0]}"
            )
    return {"modules_to_save": list(lora.modules_to_save)} | _ties(lora, model)


def _ties(lora: Lora, model: PreTrainedModel) -> dict[str, Any]:
    """Return the setting that keeps tied embeddings tied.

    Without it a merged model would have two of them where its config says one.
    """
    embeddings = model.get_input_embeddings()
    head = model.get_output_embeddings()
    if head is None or head.weight is not embeddings.weight:
        return {}
    tied = [name for name, module in model.named_modules(remove_duplicate=False) if module in (embeddings, head)]
    return {"ensure_weight_tying": True} if targeted(tied, lora.modules_to_save or ()) else {}
