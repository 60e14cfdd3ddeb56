"""Supervised fine-tuning on texts, chats, and prompts with completions, with trl.SFTTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.sft import Sft
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Encoder, LossMask, encode_sequences
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.data.spoken import spoken_template
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.methods.arguments import method_block
from tunesmith_trainer.methods.causal import CausalTask, causal_arguments
from tunesmith_trainer.models.prepare import plan_model
from tunesmith_trainer.models.tokenizers import ensure_chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora, Source
    from tunesmith_trainer.methods.plan import TrainingPlan

_WITH_COMPLETION = ("prompt-completion", "instruction")


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import SFTConfig

    options = method_block(context, Sft)
    # Makes the processes know each other, which then fetch rows once for all.
    arguments = SFTConfig(**trl_arguments(context))
    corpora = open_rows(context)
    source = plan_model(context, arguments)
    tokenizer = source.tokenizer((), arguments)
    given_template = corpora.chat and ensure_chat_template(tokenizer)
    feed = make_feed(context, tokenizer)
    task = CausalTask(context, arguments, source, tokenizer, corpora, feed, _shared_by(options))
    return task.plan(chatTemplateGiven=given_template)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.SFTConfig; see `methods.Method`."""
    return causal_arguments(context, method_block(context, Sft).pad_to_multiple_of)


def open_rows(context: RunContext) -> Corpora:
    """Return the rows to train and to evaluate on.

    Raises:
        InvalidSpec: They lack the part that is to be learnt alone.
    """
    corpora = open_corpora(context.run.spec, context, ("messages", "prompt-completion", "instruction", "text"))
    options = method_block(context, Sft)
    for source in corpora.train.sources + (corpora.evaluation.sources if corpora.evaluation else ()):
        _require_parts(source, options)
    return corpora


def make_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids and labels."""
    options, max_length = method_block(context, Sft), context.run.spec.training.max_length
    template = spoken_template(tokenizer) if options.assistant_only_loss else None
    encoder = Encoder(tokenizer, max_length, options.truncation_side, template)
    return Feed(
        lambda drawn, counts: encode_sequences(drawn, encoder, counts, lambda source: loss_mask(source, options)),
        ("input_ids", "labels"),
        max_length,
        "bfd" if options.packing else None,
    )


def loss_mask(source: Source, options: Sft) -> LossMask:
    """Return which tokens of a dataset's rows carry loss; those of a completion alone, where rows have one."""
    completion_only = options.completion_only_loss
    if completion_only is None:
        completion_only = source.layout.format in _WITH_COMPLETION
    return LossMask(completion_only, options.assistant_only_loss)


def _shared_by(options: Sft) -> str | None:
    """Return the field that lets rows share a sequence."""
    if options.packing:
        return "spec.sft.packing"
    return "spec.sft.paddingFree" if options.padding_free else None


def _require_parts(source: Source, options: Sft) -> None:
    """Refuse rows that do not have the part that is to be learnt alone."""
    if options.completion_only_loss and source.layout.format not in _WITH_COMPLETION:
        raise InvalidSpec(
            f"spec.sft.completionOnlyLoss: true needs rows with a completion, and {source.field} has"
            f" {source.layout.format} rows; remove it, or make prompt-completion rows of them"
        )
    if options.assistant_only_loss and not source.chat:
        raise InvalidSpec(
            f"spec.sft.assistantOnlyLoss: needs chats, and {source.field} has {source.layout.format} rows without"
            " roles; remove it, or make messages of them"
        )
