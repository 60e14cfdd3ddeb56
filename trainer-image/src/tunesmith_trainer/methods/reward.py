"""Reward models: a score head that learns which of two answers people prefer, with trl.RewardTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.reward import RewardModelling
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Encoder, encode_comparisons
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.plan import TrainingPlan
from tunesmith_trainer.models.adapters.lora import lora_b_ratio
from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.prepare import plan_model
from tunesmith_trainer.models.tokenizers import ensure_chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import RewardConfig

    from tunesmith_trainer.methods.reward_trainer import PreparedRewardTrainer

    # Makes the processes know each other, which then fetch rows once for all.
    arguments = RewardConfig(**trl_arguments(context))
    corpora = open_rows(context)
    source = plan_model(context, arguments)
    tokenizer = source.tokenizer((), arguments)
    given_template = corpora.chat and ensure_chat_template(tokenizer)
    feed = make_feed(context, tokenizer)
    train, report = feed.table(corpora.train, "train on")
    held_out, held_out_report = feed.table(corpora.evaluation, "evaluate on") if corpora.evaluation else (None, None)
    prepared = source.load(tokenizer)
    trainer = PreparedRewardTrainer(
        training=context.run.spec.training,
        lora_b_ratio=lora_b_ratio(context.run.spec.peft),
        model=prepared.model,
        args=arguments,
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=prepared.adapter,
    )
    settle_adapter(trainer.model)
    return TrainingPlan(
        trainer=trainer,
        output=prepared.output,
        evaluates=held_out is not None,
        data_digest=corpora.digest,
        data_report=corpora.report
        | {"train": report, "evaluation": held_out_report, "chatTemplateGiven": given_template},
    )


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.RewardConfig; see `methods.Method`."""
    from trl import RewardConfig

    block = method_block(context, RewardModelling)
    own = {"center_rewards_coefficient": block.center_rewards_coefficient, "disable_dropout": block.disable_dropout}
    return config_arguments(context, RewardConfig, **own)


def open_rows(context: RunContext) -> Corpora:
    """Return the rows to train and to evaluate on."""
    return open_corpora(context.run.spec, context, ("preference",))


def make_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids of two sequences, and a margin."""
    encoder = Encoder(tokenizer, context.run.spec.training.max_length)
    return Feed(
        lambda drawn, counts: encode_comparisons(drawn, encoder, counts),
        ("chosen_ids", "rejected_ids", "margin"),
        encoder.max_length,
    )
