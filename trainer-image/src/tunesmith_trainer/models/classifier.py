"""Classifiers with one score, as reward models are: a causal language model's layers under a score head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.models.adapters.modules import SCORE_HEADS
from tunesmith_trainer.models.adapters.saved import continue_adapter, read_config
from tunesmith_trainer.models.causal import is_classifier, read_model_config, require_causal, runs_own_code
from tunesmith_trainer.models.folders import ADAPTER_WEIGHTS
from tunesmith_trainer.models.tokenizers import load_own_tokenizer
from tunesmith_trainer.models.vocabulary import make_room
from tunesmith_trainer.models.weights import read_weights, require_whole, set_padding

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.model import ModelSource
    from tunesmith_trainer.models.folders import Folder

_CLASS = "AutoModelForSequenceClassification"
_DEFAULT_LABELS = 2  # of transformers' configs


@dataclass(frozen=True)
class Classifier:
    """A frozen classifier that is ready to score texts: `model(**tokens).logits[:, 0]`.

    Attributes:
        model: The model in evaluation mode; it knows its padding token, so that rows of a batch may be padded right.
        tokenizer: Its own tokenizer, which need not be the policy's.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase


def load_classifier(base: Folder, adapter: Folder | None, dtype: str, source: ModelSource) -> Classifier:
    """Return a trained classifier, such as the output of method `reward`.

    Args:
        base: A classifier; or, with an adapter, the model that the adapter was trained on.
        adapter: An adapter that was trained with a score head.
        dtype: Precision to hold the weights in.
        source: The spec's block about the model; it says whether code from the folder is run.

    Raises:
        ModelNotFound: It is not whole.
        InvalidSpec: It is no classifier with one score.
    """
    base.require_model()
    require_classifier(base, adapter, trusted=source.trust_remote_code)
    # Only an adapter brings the head that is drawn here.
    model: PreTrainedModel | PeftModel = classifier_weights(base, dtype, source, seed=0)
    if adapter is not None:
        make_room(model, read_config(adapter))
        model = continue_adapter(model, adapter)
    tokenizer = load_own_tokenizer(base, adapter, trusted=source.trust_remote_code)
    set_padding(model, tokenizer)
    return Classifier(model.eval().requires_grad_(requires_grad=False), tokenizer)


def require_classifier(base: Folder, adapter: Folder | None, *, trusted: bool) -> None:
    """Refuse what is no trained classifier with one score, before its weights are loaded.

    Args:
        base: The whole model, or the one that the adapter belongs to.
        adapter: The adapter.
        trusted: Whether code in the folder may be run.

    Raises:
        ModelNotFound: A config can not be read.
        InvalidSpec: It is none.
    """
    if adapter is not None:
        require_score_adapter(adapter)
    elif not has_score_head(base, trusted=trusted):
        raise InvalidSpec(
            f"{base.name} is a language model without a score head: train one on it with method: reward, or choose a"
            " sequence classifier"
        )


def classifier_weights(
    folder: Folder, dtype: str, source: ModelSource, seed: int, *, quantises: bool = False
) -> PreTrainedModel:
    """Return the classifier of a folder, or its causal language model with a fresh score head in place of its own.

    Args:
        folder: A model folder as `save_pretrained` writes it.
        dtype: Precision to hold the weights in.
        source: The spec's block about the model; it says whether code from the folder is run.
        seed: Of a fresh head.
        quantises: Whether linear layers are held as the block's quantization says.

    Raises:
        ModelNotFound: It is not whole.
        InvalidSpec: It is neither, or transformers has no classifier of its kind.
    """
    from transformers import AutoModelForSequenceClassification, set_seed

    folder.require_model()
    headed = has_score_head(folder, trusted=source.trust_remote_code)
    set_seed(seed)
    kind = AutoModelForSequenceClassification
    model, info = read_weights(kind, folder, dtype, source, quantises=quantises, num_labels=1)
    require_whole(folder, info if headed else _without_heads(info))
    return model


def has_score_head(folder: Folder, *, trusted: bool) -> bool:
    """Return whether a folder holds a classifier; else it holds a causal language model that can become one.

    Args:
        folder: The model's folder.
        trusted: Whether code in the folder may be run.

    Raises:
        ModelNotFound: The config can not be read.
        InvalidSpec: It is neither, has several scores, or transformers has no classifier of its kind.
    """
    config = read_model_config(folder)
    headed = is_classifier(config)
    if not headed:
        require_causal(folder, trusted=trusted)
    if not runs_own_code(folder, config, _CLASS, trusted=trusted):
        _require_known(folder, str(config.get("model_type")))
    labels = len(config.get("id2label") or range(_DEFAULT_LABELS))
    if headed and labels != 1:
        raise InvalidSpec(f"{folder.name} tells {labels} classes apart; choose a classifier with one score")
    return headed


def require_score_adapter(adapter: Folder) -> None:
    """Refuse an adapter that brings no score head: that of its base would be a fresh one, which says nothing.

    Raises:
        ModelNotFound: It can not be read.
        InvalidSpec: It brings none.
    """
    task = read_config(adapter).task_type
    headed = any(part in SCORE_HEADS for name in adapter.weight_names(ADAPTER_WEIGHTS) for part in name.split("."))
    if task != "SEQ_CLS" or not headed:
        raise InvalidSpec(
            f"{adapter.name} was trained for {task} and brings no score head to score texts with; choose one that was"
            " trained with method: reward"
        )


def _require_known(folder: Folder, model_type: str) -> None:
    from transformers import CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    if model_type not in CONFIG_MAPPING or CONFIG_MAPPING[model_type] not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise InvalidSpec(
            f"{folder.name} is of the type {model_type}, which transformers has no classifier for; choose another base"
            " model, such as one of type llama"
        )


def _without_heads(info: dict[str, Any]) -> dict[str, Any]:
    """Return what transformers says of weights, without the head that is fresh and the one that it replaces."""
    missing = [key for key in info["missing_keys"] if key.split(".")[0] not in SCORE_HEADS]
    unexpected = [key for key in info["unexpected_keys"] if not key.startswith(("lm_head.", "embed_out."))]
    return info | {"missing_keys": missing, "unexpected_keys": unexpected}
