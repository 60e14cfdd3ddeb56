"""Tokenizers: loaded from a model's folder, and what a chat needs of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import ModelNotFound
from tunesmith_trainer.models.architectures.registration import register

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
MESSAGE_START = "<|im_start|>"
MESSAGE_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, PADDING, MESSAGE_START, MESSAGE_END)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
CONFIG_FILE = "tokenizer_config.json"

_CHATML = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + 'MESSAGE_END\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def load_tokenizer(folder: Path, where: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, fit for training.

    Args:
        folder: Where it is mounted.
        where: The folder as the user knows it, for messages.

    Raises:
        ModelNotFound: There is none, or it can not be used.
    """
    if not has_tokenizer(folder):
        raise ModelNotFound(f"{where} holds no tokenizer ({', '.join(TOKENIZER_FILES)}); copy it next to the weights")
    from transformers import AutoTokenizer

    register()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelNotFound(f"the tokenizer of {where} can not be loaded: {first_line(error)}") from error
    if tokenizer.eos_token is None:
        raise ModelNotFound(
            f"the tokenizer of {where} has no end-of-sequence token; set eos_token in its {CONFIG_FILE}"
        )
    if tokenizer.pad_token is None:
        # As TRL does it: padding carries no loss and no attention, so sharing the token is harmless.
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Give a tokenizer without a chat template ChatML, and tell whether it was given.

    A vocabulary without ChatML's own tokens spells them out, and ends a message with its end-of-sequence token instead,
    so that generation stops there.
    """
    if tokenizer.chat_template:
        return False
    known = MESSAGE_END in tokenizer.get_vocab()
    tokenizer.chat_template = _CHATML.replace("MESSAGE_END", MESSAGE_END if known else tokenizer.eos_token)
    return True


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens at which generation ends: the end of a text, and of a ChatML message."""
    vocabulary = tokenizer.get_vocab()
    ids = [tokenizer.eos_token_id]
    if MESSAGE_END in vocabulary and MESSAGE_END in str(tokenizer.chat_template):
        ids.append(vocabulary[MESSAGE_END])
    return list(dict.fromkeys(ids))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type when it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
