"""Kahneman-Tversky optimisation on answers that are labelled good or bad, with trl.KTOTrainer."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.kto import Kto
from tunesmith_trainer.data.balance import weight_advice
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Encoder, encode_labelled
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.data.tables import pair_with_neighbours, shuffle_table
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.plan import TrainingPlan
from tunesmith_trainer.models.adapters.lora import lora_b_ratio
from tunesmith_trainer.models.adapters.settling import require_unchanged_base, settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.models.prepare import plan_model
from tunesmith_trainer.models.tokenizers import ensure_chat_template

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora

_log = logging.getLogger(__name__)


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import KTOConfig

    from tunesmith_trainer.methods.kto_trainer import PreparedKTOTrainer

    training = context.run.spec.training
    # Makes the processes know each other, which then fetch rows once for all.
    arguments = KTOConfig(**trl_arguments(context))
    corpora = open_rows(context)
    source = plan_model(context, arguments)
    tokenizer = source.tokenizer((), arguments)
    given_template = corpora.chat and ensure_chat_template(tokenizer)
    feed = make_feed(context, tokenizer)
    train, report = feed.table(corpora.train, "train on")
    held_out, held_out_report = feed.table(corpora.evaluation, "evaluate on") if corpora.evaluation else (None, None)
    advice = weight_advice(report["labels"], method_block(context, Kto))
    if advice:
        _log.warning("%s", advice)
    prepared = source.load(tokenizer)
    if prepared.adapter_config is not None:
        require_unchanged_base(prepared.adapter_config)
    trainer = PreparedKTOTrainer(
        training=training,
        lora_b_ratio=lora_b_ratio(context.run.spec.peft),
        model=prepared.model,
        # TRL would load its own from the path in the config, which is not what is trained when that is a merge.
        ref_model=None if source.trains_adapter else copy.deepcopy(prepared.model).eval(),
        args=arguments,
        # The sampler keeps the order, so that rows which are paired meet in a micro-batch: without this, classes of
        # rows that follow each other in the files would be learnt one after the other.
        train_dataset=_paired(context, shuffle_table(train, training.order_seed), training.per_device_train_batch_size),
        eval_dataset=None if held_out is None else _paired(context, held_out, training.per_device_eval_batch_size),
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
        | {"train": report, "evaluation": held_out_report, "chatTemplateGiven": given_template, "weightAdvice": advice},
    )


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.KTOConfig; see `methods.Method`."""
    from trl import KTOConfig

    block = method_block(context, Kto)
    own = {name: getattr(block, name) for name in type(block).model_fields}
    return config_arguments(context, KTOConfig, **own, train_sampling_strategy="sequential")


def open_rows(context: RunContext) -> Corpora:
    """Return the rows to train and to evaluate on."""
    return open_corpora(context.run.spec, context, ("unpaired-preference", "preference"))


def make_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids of prompt and completion, and a label."""
    encoder = Encoder(tokenizer, context.run.spec.training.max_length)
    return Feed(
        lambda drawn, counts: encode_labelled(drawn, encoder, counts),
        ("prompt_ids", "completion_ids", "label"),
        encoder.max_length,
    )


def _paired(context: RunContext, rows: Dataset, size: int) -> Dataset:
    """Return rows with what the loss estimates the KL divergence on, where it does so at all."""
    return pair_with_neighbours(rows, size) if method_block(context, Kto).loss_type == "kto" else rows
