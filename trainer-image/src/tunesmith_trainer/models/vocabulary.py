"""Tokens that are added to a vocabulary: their embeddings begin at the mean of the others, and are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from peft import LoraConfig, PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.model import ModelSource


def add_tokens(tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> None:
    """Add the tokens that the spec lists; those that are known keep their ids."""
    tokenizer.add_tokens(list(source.added_tokens or ()))
    tokenizer.add_tokens(list(source.added_special_tokens or ()), special_tokens=True)


def added_ids(tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> list[int]:
    """Return the ids of the tokens that the spec lists, ascending."""
    tokens = [*(source.added_tokens or ()), *(source.added_special_tokens or ())]
    return sorted(set(tokenizer.convert_tokens_to_ids(tokens)))


def grow(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, added: Collection[int], seed: int) -> None:
    """Give a model the rows that added tokens need; a tokenizer that is too large without them is left to be refused.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        added: Ids of the added tokens.
        seed: Of the new rows, which transformers draws closely around the mean of the others.
    """
    from transformers import set_seed

    rows = model.get_input_embeddings().weight.shape[0]
    if rows < len(tokenizer) and set(range(rows, len(tokenizer))) <= set(added):
        set_seed(seed)
        # Where a model is only outlined there are no rows to take the mean of.
        model.resize_token_embeddings(len(tokenizer), mean_resizing=model.device.type != "meta")


def train_rows(config: LoraConfig, model: PreTrainedModel, added: Collection[int]) -> None:
    """Let a new adapter train and bring along the rows of added tokens, at the input and, where untied, the output."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    heads = {id(inputs), id(outputs)}
    tied = outputs is not None and inputs.weight is outputs.weight
    names = [name for name, module in model.named_modules() if id(module) in heads]
    # Of tied ones peft trains both when told of the input's.
    config.trainable_token_indices = {name.rpartition(".")[2]: list(added) for name in names[: 1 if tied else 2]}


def make_room(model: PreTrainedModel, config: PeftConfig) -> None:
    """Give a base model the rows that a saved adapter brings along; what they hold before that does not matter."""
    rows = getattr(config, "trainable_token_indices", None) or {}
    ids = [number for part in (rows.values() if isinstance(rows, dict) else (rows,)) for number in part]
    if ids and max(ids) >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
