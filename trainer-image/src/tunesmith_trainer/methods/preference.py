"""The rows of the methods that learn from preferences: pairs of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Encoder, encode_preferences
from tunesmith_trainer.data.feed import Feed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora


def open_pairs(context: RunContext) -> Corpora:
    """Return the rows to train and to evaluate on; see `methods.Method.open_rows`."""
    return open_corpora(context.run.spec, context, ("preference",))


def make_pair_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids of prompt and answers."""
    encoder = Encoder(tokenizer, context.run.spec.training.max_length)
    return Feed(
        lambda drawn, counts: encode_preferences(drawn, encoder, counts),
        ("prompt_ids", "chosen_ids", "rejected_ids"),
        encoder.max_length,
    )
