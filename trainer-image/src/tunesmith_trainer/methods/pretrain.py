"""Pretraining: causal language modelling on plain text, with trl.SFTTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.pretrain import Pretrain
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Encoder, encode_texts
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.methods.arguments import method_block
from tunesmith_trainer.methods.causal import CausalTask, causal_arguments
from tunesmith_trainer.models.prepare import plan_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora
    from tunesmith_trainer.methods.plan import TrainingPlan


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import SFTConfig

    options = method_block(context, Pretrain)
    # Makes the processes know each other, which then fetch rows once for all.
    arguments = SFTConfig(**trl_arguments(context))
    corpora = open_rows(context)
    source = plan_model(context, arguments)
    tokenizer = source.tokenizer((row["text"] for row in corpora.train), arguments)
    apart = options.packing and options.packing_strategy != "wrapped"
    return CausalTask(
        context,
        arguments,
        source,
        tokenizer,
        corpora,
        make_feed(context, tokenizer),
        "spec.pretrain.packingStrategy" if apart else None,
    ).plan()


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.SFTConfig; see `methods.Method`."""
    return causal_arguments(context, method_block(context, Pretrain).pad_to_multiple_of)


def open_rows(context: RunContext) -> Corpora:
    """Return the rows to train and to evaluate on."""
    return open_corpora(context.run.spec, context, ("text",))


def make_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids."""
    options, max_length = method_block(context, Pretrain), context.run.spec.training.max_length
    packing = options.packing_strategy if options.packing else None
    encoder = Encoder(tokenizer, max_length)
    # Windows and split texts take all of a text; else it is cut where it gets too long.
    whole = packing in {"wrapped", "bfd_split"}
    return Feed(
        lambda drawn, counts: encode_texts(drawn, encoder, counts, whole=whole), ("input_ids",), max_length, packing
    )
