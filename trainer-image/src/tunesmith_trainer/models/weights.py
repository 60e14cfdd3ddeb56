"""Weights: loaded from a folder, or random for a new architecture."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.errors import InvalidSpec, ModelNotFound, first_line
from tunesmith_trainer.models.architectures.choice import new_config
from tunesmith_trainer.models.architectures.registration import register
from tunesmith_trainer.models.causal import require_causal
from tunesmith_trainer.models.quantized import bits_and_bytes
from tunesmith_trainer.models.tokenizers import stop_token_ids

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.architecture import Architecture
    from tunesmith_api.v1alpha1.model import Attention, ModelSource
    from tunesmith_trainer.models.folders import Folder

_LOG = logging.getLogger(__name__)


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's type for the name of a precision, as the spec has it."""
    import torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype


def load_weights(folder: Folder, dtype: str, source: ModelSource, *, quantises: bool = False) -> PreTrainedModel:
    """Return the causal language model of a folder; see `read_weights`.

    Raises:
        ModelNotFound: It is not whole.
        InvalidSpec: It is no causal language model, or needs code that may not be run.
    """
    from transformers import AutoModelForCausalLM

    folder.require_model()
    require_causal(folder, trusted=source.trust_remote_code)
    model, info = read_weights(AutoModelForCausalLM, folder, dtype, source, quantises=quantises)
    require_whole(folder, info)
    return model


def read_weights(
    kind: Any, folder: Folder, dtype: str, source: ModelSource, *, quantises: bool = False, **config: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return the model of a folder, and what transformers says of its weights.

    Args:
        kind: The Auto class to load it with.
        folder: A model folder as `save_pretrained` writes it.
        dtype: Precision to hold the weights in.
        source: The spec's block about the model; it says whether code from the folder is run.
        quantises: Whether linear layers are held as the block's quantization says.
        config: What of the config is to be different.

    Raises:
        ModelNotFound: It can not be loaded.
        InvalidSpec: Its attention is not to be had in this image.
    """
    require_attention(source)
    register()
    try:
        model, info = kind.from_pretrained(
            folder.path,
            dtype=torch_dtype(dtype),
            attn_implementation=source.attn_implementation,
            local_files_only=True,
            trust_remote_code=source.trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            quantization_config=bits_and_bytes(source.quantization) if quantises and source.quantization else None,
            **config,
        )
    # What a damaged folder raises is the business of three libraries; a fault of ours would show with any model.
    except Exception as error:
        raise ModelNotFound(f"{folder.name} can not be loaded: {first_line(error)}") from error
    return model, info


def require_whole(folder: Folder, info: dict[str, Any]) -> None:
    """Refuse a model of which transformers made up weights: it only warns about them."""
    lacking = sorted(info["missing_keys"]) + sorted(str(key) for key in info.get("mismatched_keys", ()))
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ModelNotFound(f"{folder.name} lacks the weights {lacking[0]}{more}; copy the whole folder")
    if info["unexpected_keys"]:
        _LOG.warning("%s has weights that its config does not know: %s", folder.name, sorted(info["unexpected_keys"]))


def require_attention(source: ModelSource) -> None:
    """Refuse flash attention in an image without it: transformers would fetch somebody's kernel from the Hub.

    Raises:
        InvalidSpec: The package is not there.
    """
    from transformers.utils import is_flash_attn_2_available

    if source.attn_implementation == "flash_attention_2" and not is_flash_attn_2_available():
        raise InvalidSpec(
            "spec.model.attnImplementation: flash_attention_2 needs the package flash-attn, which this trainer image"
            " lacks or which finds no GPU; use sdpa, or an image with it in the accelerator profile"
        )


def new_weights(
    architecture: Architecture, tokenizer: PreTrainedTokenizerBase, seed: int, attention: Attention
) -> PreTrainedModel:
    """Return a decoder with random weights in float32, the same for the same seed."""
    from transformers import AutoModelForCausalLM, set_seed

    config = new_config(architecture, tokenizer)
    set_seed(seed)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


def fit_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int, where: str) -> None:
    """Check that model and tokenizer belong together, and tell the model where generation ends, or padding begins.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        max_length: Longest sequence of the job, in tokens.
        where: The model as the user knows it, for messages.

    Raises:
        ModelNotFound: The tokenizer knows more tokens than the model.
        InvalidSpec: The model knows fewer positions than `training.maxLength`.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelNotFound(
            f"the tokenizer of {where} has {len(tokenizer)} tokens and the model embeds {rows};"
            " copy the tokenizer that belongs to the model"
        )
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and max_length > positions:
        raise InvalidSpec(
            f"spec.training.maxLength {max_length} exceeds the {positions} positions of {where};"
            f" set at most {positions}"
        )
    if model.can_generate():
        _set_stop_tokens(model, tokenizer)
    else:
        set_padding(model, tokenizer)


def set_padding(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell a classifier where padding begins: it scores the token before that, and looks in its config alone."""
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def _set_stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Add the tokenizer's ends to those that generation stops at already."""
    known = model.generation_config.eos_token_id
    ids = [known] if isinstance(known, int) else list(known or [])
    ids += [token for token in stop_token_ids(tokenizer) if token not in ids]
    model.generation_config.eos_token_id = ids[0] if len(ids) == 1 else ids
    model.generation_config.pad_token_id = tokenizer.pad_token_id
