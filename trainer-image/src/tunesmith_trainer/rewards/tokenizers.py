"""Reward models with another vocabulary than the model whose completions they score."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def is_foreign(tokenizer: PreTrainedTokenizerBase, writer: PreTrainedTokenizerBase) -> bool:
    """Return whether a reward model's tokenizer is another one than that of the model that writes."""
    return bool(tokenizer.get_vocab() != writer.get_vocab())


def foreign_warning(field: str) -> str:
    """Return what to tell of such a model, named by its field."""
    return f"{field} has another tokenizer than spec.model: completions are put to it as text, which it tokenises anew"
