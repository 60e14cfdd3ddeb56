"""Pretraining: causal language modelling on plain text, with trl.SFTTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods import Pretrain
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Counts, Encoder, encode_sequences, encode_texts
from tunesmith_trainer.data.tables import make_table, make_windows
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.plan import TrainingPlan
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.models.prepare import plan_model

if TYPE_CHECKING:
    from datasets import Dataset

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpus


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import SFTConfig

    from tunesmith_trainer.methods.language_trainer import LanguageTrainer

    spec = context.run.spec
    corpora = open_corpora(spec, context, ("text",))
    arguments = SFTConfig(**config_arguments(context, SFTConfig, dataset_kwargs={"skip_prepare_dataset": True}))
    source = plan_model(context, arguments)
    tokenizer = source.tokenizer((row["text"] for row in corpora.train), arguments)
    encoder = Encoder(tokenizer, spec.training.max_length)
    packing = method_block(context, Pretrain).packing
    train, report = _table(corpora.train, encoder, packing=packing)
    held_out, held_out_report = (
        _table(corpora.evaluation, encoder, packing=packing) if corpora.evaluation else (None, None)
    )
    prepared = source.load(tokenizer)
    trainer = LanguageTrainer(
        training=spec.training,
        model=prepared.model,
        args=arguments,
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=prepared.adapter,
    )
    use_plain_head(trainer)
    return TrainingPlan(
        trainer=trainer,
        output=prepared.output,
        evaluates=held_out is not None,
        data_digest=corpora.digest,
        data_report=corpora.report | {"train": report, "evaluation": held_out_report},
    )


def _table(corpus: Corpus, encoder: Encoder, *, packing: bool) -> tuple[Dataset, dict[str, Any]]:
    """Return the rows as windows of tokens, or one by one, and what became of them."""
    counts = Counts()
    if not packing:
        sequences = encode_sequences(corpus, encoder, counts, completion_only=False)
        table = make_table(((ids,) for ids, _ in sequences), ("input_ids",))
        return table, counts.report()
    table, left_over = make_windows(encode_texts(corpus, encoder, counts), encoder.max_length)
    return table, counts.report() | {"windows": len(table), "leftOverTokens": left_over}
