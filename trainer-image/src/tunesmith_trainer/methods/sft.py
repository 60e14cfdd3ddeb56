"""Supervised fine-tuning on texts, chats, and prompts with completions, with trl.SFTTrainer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods import Sft
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Counts, Encoder, encode_sequences, require_rows
from tunesmith_trainer.data.tables import make_table
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.methods.arguments import common_arguments, method_block
from tunesmith_trainer.methods.plan import TrainingPlan
from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.models.prepare import plan_model
from tunesmith_trainer.models.tokenizers import ensure_chat_template

if TYPE_CHECKING:
    from datasets import Dataset

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora, Corpus, Source

_WITH_COMPLETION = ("prompt-completion", "instruction")


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import SFTConfig, SFTTrainer

    spec = context.run.spec
    corpora = open_corpora(spec, context, ("messages", "prompt-completion", "instruction", "text"))
    completion_only = method_block(context, Sft).completion_only_loss
    _require_completions(corpora, completion_only)
    arguments = SFTConfig(**common_arguments(context), dataset_kwargs={"skip_prepare_dataset": True})
    source = plan_model(context, arguments)
    tokenizer = source.tokenizer((), arguments)
    given_template = corpora.chat and ensure_chat_template(tokenizer)
    encoder = Encoder(tokenizer, spec.training.max_length)
    train, report = _table(corpora.train, encoder, completion_only, "train on")
    held_out, held_out_report = (
        _table(corpora.evaluation, encoder, completion_only, "evaluate on") if corpora.evaluation else (None, None)
    )
    prepared = source.load(tokenizer)
    trainer = SFTTrainer(
        model=prepared.model,
        args=arguments,
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=prepared.adapter,
    )
    settle_adapter(trainer.model)
    use_plain_head(trainer)
    return TrainingPlan(
        trainer=trainer,
        output=prepared.output,
        evaluates=held_out is not None,
        data_digest=corpora.digest,
        data_report=corpora.report
        | {"train": report, "evaluation": held_out_report, "chatTemplateGiven": given_template},
    )


def _require_completions(corpora: Corpora, completion_only: bool | None) -> None:
    if not completion_only:
        return
    corpuses = [corpora.train] if corpora.evaluation is None else [corpora.train, corpora.evaluation]
    for source in itertools.chain.from_iterable(corpus.sources for corpus in corpuses):
        if source.layout.format not in _WITH_COMPLETION:
            raise InvalidSpec(
                f"spec.sft.completionOnlyLoss: true needs rows with a completion, and {source.field} has"
                f" {source.layout.format} rows; remove it, or make prompt-completion rows of them"
            )


def _table(corpus: Corpus, encoder: Encoder, completion_only: bool | None, what: str) -> tuple[Dataset, dict[str, Any]]:
    """Return the rows as token ids and labels, and what became of them."""
    counts = Counts()
    groups = itertools.groupby(corpus.with_sources(), key=lambda pair: pair[0])
    sequences = itertools.chain.from_iterable(
        encode_sequences(
            (row for _, row in pairs), encoder, counts, completion_only=_masks_prompt(source, completion_only)
        )
        for source, pairs in groups
    )
    table = make_table(sequences, ("input_ids", "labels"))
    require_rows(counts, encoder.max_length, what)
    return table, counts.report()


def _masks_prompt(source: Source, completion_only: bool | None) -> bool:
    return source.layout.format in _WITH_COMPLETION if completion_only is None else completion_only
