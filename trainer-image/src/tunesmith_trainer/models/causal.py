"""What a model folder holds, by what its config says: a causal language model, or another kind of model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.errors import InvalidSpec, ModelNotFound
from tunesmith_trainer.models.folders import MODEL_CONFIG

if TYPE_CHECKING:
    from tunesmith_trainer.models.folders import Folder

_CLASS = "AutoModelForCausalLM"
_ENDINGS = ("ForCausalLM", "LMHeadModel")
_CLASSIFIER = "ForSequenceClassification"


def require_causal(folder: Folder, *, trusted: bool) -> None:
    """Refuse a model that is not to be trained, by what its config says: loaded all the same, it would lack its head.

    Args:
        folder: The model's folder.
        trusted: Whether code in the folder may be run.

    Raises:
        ModelNotFound: The config can not be read.
        InvalidSpec: It is another kind of model, or one of a class of its own.
    """
    config = read_model_config(folder)
    if is_classifier(config):
        raise InvalidSpec(
            f"{folder.name} is a {config['architectures'][0]}: a classifier, which scores texts and writes none; choose"
            " the model that it was trained on, or use it as a reward model"
        )
    if runs_own_code(folder, config, _CLASS, trusted=trusted):
        return
    for name in config.get("architectures") or ():
        if not name.endswith(_ENDINGS):
            raise InvalidSpec(
                f"{folder.name} is a {name}: {_kind(name)}, and only causal language models (such as LlamaForCausalLM)"
                " can be trained; choose one"
            )


def is_classifier(config: dict[str, Any]) -> bool:
    """Whether the model of a config scores sequences."""
    return any(name.endswith(_CLASSIFIER) for name in config.get("architectures") or ())


def runs_own_code(folder: Folder, config: dict[str, Any], kind: str, *, trusted: bool) -> bool:
    """Return whether a model is of a class that its folder brings.

    Args:
        folder: The model's folder.
        config: Its config.
        kind: The Auto class that it is loaded with.
        trusted: Whether code in the folder may be run.

    Raises:
        InvalidSpec: It is, transformers has none for it, and the folder's is not to be run.
    """
    from transformers import CONFIG_MAPPING

    from tunesmith_trainer.models.architectures.registration import register

    register()
    code = (config.get("auto_map") or {}).get(kind)
    if code and not trusted and config.get("model_type") not in CONFIG_MAPPING:
        raise InvalidSpec(
            f"{folder.name} is of a class of its own ({code}), and no code of a model is run unless"
            " spec.model.trustRemoteCode is true and the installation's policy allows it; set it, or choose a model"
            " that transformers knows"
        )
    return bool(code and trusted)


def read_model_config(folder: Folder) -> dict[str, Any]:
    """Return the config of a model's folder, as its file has it.

    Raises:
        ModelNotFound: It can not be read.
    """
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
    return "no causal language model"
