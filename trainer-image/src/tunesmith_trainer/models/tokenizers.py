"""Tokenizers: loaded from a model's folder, and what a chat needs of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith_trainer.errors import ModelNotFound, first_line
from tunesmith_trainer.models.architectures.registration import register

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.models.folders import Folder

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
MESSAGE_START = "<|im_start|>"
MESSAGE_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, PADDING, MESSAGE_START, MESSAGE_END)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
CONFIG_FILE = "tokenizer_config.json"

_TEMPLATES = Path(__file__).with_name("chat_templates")
_LLAMA_MESSAGE_END = "<|eot_id|>"


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def load_tokenizer(folder: Path, where: str, *, trusted: bool = False) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, fit for training.

    Args:
        folder: Where its files are.
        where: The folder as the user knows it, for messages.
        trusted: Whether code in the folder may be run.

    Raises:
        ModelNotFound: There is none, or it can not be used.
    """
    if not has_tokenizer(folder):
        raise ModelNotFound(f"{where} holds no tokenizer ({', '.join(TOKENIZER_FILES)}); copy it next to the weights")
    from transformers import AutoTokenizer

    register()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
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


def load_own_tokenizer(base: Folder, adapter: Folder | None, *, trusted: bool) -> PreTrainedTokenizerBase:
    """Return the tokenizer that a model was trained with: an adapter may bring it, with tokens that the base lacks."""
    folder = adapter if adapter is not None and has_tokenizer(adapter.path) else base
    return load_tokenizer(folder.path, folder.name, trusted=trusted)


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Give a tokenizer without a chat template ChatML, and tell whether it was given."""
    if tokenizer.chat_template:
        return False
    tokenizer.chat_template = named_template("chatml", tokenizer)
    return True


def named_template(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return one of the trainer's chat templates; each marks what the assistant says.

    A vocabulary without ChatML's own tokens spells them out, and ends a message with its end-of-sequence token instead,
    so that generation stops there.
    """
    text = (_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    known = MESSAGE_END in tokenizer.get_vocab()
    return text.replace("MESSAGE_END", MESSAGE_END if known else tokenizer.eos_token)


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens at which generation ends: the end of a text, and of a message of the chat template."""
    vocabulary, template = tokenizer.get_vocab(), str(tokenizer.chat_template)
    ends = [end for end in (MESSAGE_END, _LLAMA_MESSAGE_END) if end in vocabulary and end in template]
    return list(dict.fromkeys([tokenizer.eos_token_id, *(vocabulary[end] for end in ends)]))
