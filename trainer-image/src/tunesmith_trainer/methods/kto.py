"""Kahneman-Tversky optimisation on answers that are labelled good or bad, with trl.KTOTrainer."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.kto import Kto
from tunesmith_trainer.data.balance import label_counts, weight_advice
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Encoder, encode_labelled
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.data.tables import pair_with_neighbours, shuffle_table
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.task import TableTask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora
    from tunesmith_trainer.methods.plan import TrainingPlan

_log = logging.getLogger(__name__)


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import KTOConfig

    from tunesmith_trainer.methods.kto_trainer import PreparedKTOTrainer

    arguments = KTOConfig(**trl_arguments(context))
    task = _ordered(TableTask.begin(context, arguments, open_rows=open_rows, make_feed=make_feed))
    prepared = task.source.load(task.tokenizer)
    reference = task.reference(prepared, ahead=method_block(context, Kto).precompute_ref_log_probs)
    return task.plan(PreparedKTOTrainer(ref_model=reference, **task.trainer_arguments(prepared)), prepared)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.KTOConfig; see `methods.Method`."""
    from trl import KTOConfig

    # The block's fields have TRL's names.
    own = method_block(context, Kto).model_dump()
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


def _ordered(task: TableTask) -> TableTask:
    """Return the rows as they are trained on: drawn once, and paired with their neighbours.

    The sampler keeps their order, so that rows that are paired meet in a micro-batch. Classes of rows that follow each
    other in the files would be learnt one after the other.
    """
    options, training = method_block(task.context, Kto), task.context.run.spec.training
    advice = weight_advice(label_counts(task.report["train"]), options)
    if advice:
        _log.warning("%s", advice)
    train, held_out = shuffle_table(task.train, training.order_seed), task.held_out
    if options.loss_type == "kto":
        train = pair_with_neighbours(train, training.per_device_train_batch_size)
        size = training.per_device_eval_batch_size
        held_out = None if held_out is None else pair_with_neighbours(held_out, size)
    return replace(task, train=train, held_out=held_out, report=task.report | {"weightAdvice": advice})
