"""Which model folders can be trained: causal language models, by transformers' classes or by code that is trusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.errors import InvalidSpec, ModelNotFound
from tunesmith_trainer.models.folders import MODEL_CONFIG

if TYPE_CHECKING:
    from tunesmith_trainer.models.folders import Folder

_CLASS = "AutoModelForCausalLM"
_ENDINGS = ("ForCausalLM", "LMHeadModel")


def require_causal(folder: Folder, *, trusted: bool) -> None:
    """Refuse a model that is not to be trained, by what its config says: loaded all the same, it would lack its head.

    Args:
        folder: The model's folder.
        trusted: Whether code in the folder may be run.

    Raises:
        ModelNotFound: The config can not be read.
        InvalidSpec: It is another kind of model, or one of a class of its own.
    """
    from transformers import CONFIG_MAPPING

    config = _read(folder)
    code = (config.get("auto_map") or {}).get(_CLASS)
    if code and trusted:
        return
    if code and config.get("model_type") not in CONFIG_MAPPING:
        raise InvalidSpec(
            f"{folder.name} is of a class of its own ({code}), and no code of a model is run unless"
            " spec.model.trustRemoteCode is true and the installation's policy allows it; set it, or choose a model"
            " that transformers knows"
        )
    for name in config.get("architectures") or ():
        if not name.endswith(_ENDINGS):
            raise InvalidSpec(
                f"{folder.name} is a {name}: {_kind(name)}, and only causal language models (such as LlamaForCausalLM)"
                " can be trained; choose one"
            )


def _read(folder: Folder) -> dict[str, Any]:
    try:
        config = json.loads((folder.path / MODEL_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"{folder.name} has a {MODEL_CONFIG} that can not be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelNotFound(f"{folder.name} has a {MODEL_CONFIG} that is no object")
    return config


def _kind(name: str) -> str:
    if name.endswith("ForConditionalGeneration"):
        return "an encoder-decoder or multimodal model"
    if name.endswith("Classification"):
        return "a classifier"
    return "no causal language model"
