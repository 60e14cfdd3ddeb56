"""From an architecture to a config: a stock class of Transformers where one has exactly these options, else our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.models.architectures.stock import STOCK_CLASSES, own_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.architecture import Architecture

OWN = "tunesmith"


@dataclass(frozen=True)
class Choice:
    """What an architecture becomes.

    Attributes:
        model_type: Name of the class in Transformers; `tunesmith` is our own.
        reason: Why this one: what each of the stock classes before it does not have.
        arguments: What its config is made with, but for what the tokenizer says.
    """

    model_type: str
    reason: str
    arguments: dict[str, Any]

    def config(self, vocab_size: int, **tokens: int | None) -> PreTrainedConfig:
        """Return the config.

        Args:
            vocab_size: Size of the vocabulary.
            tokens: Ids of the special tokens, as configs name them: `bos_token_id`, `eos_token_id`, `pad_token_id`.
        """
        from transformers import AutoConfig

        from tunesmith_trainer.models.architectures.registration import register

        register()
        return AutoConfig.for_model(self.model_type, **self.arguments, vocab_size=vocab_size, **tokens)


def choose(architecture: Architecture) -> Choice:
    """Return the first stock class that has exactly the options of a resolved architecture, else our own."""
    lacking: list[str] = []
    for stock in STOCK_CLASSES:
        lack = stock.lacks(architecture)
        if lack is None:
            reason = "; ".join(lacking) or f"{stock.model_type} has every option"
            return Choice(stock.model_type, reason, stock.arguments(architecture))
        lacking.append(f"{stock.model_type} has no {lack}")
    return Choice(OWN, "; ".join(lacking), own_arguments(architecture))


def new_config(architecture: Architecture, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """Return the config of an architecture with a tokenizer."""
    return choose(architecture).config(
        len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
