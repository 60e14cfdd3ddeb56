"""Reward models: a score head that learns which of two answers people prefer, with trl.RewardTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.reward import RewardModelling
from tunesmith_trainer.data.encode import Encoder, encode_comparisons
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.preference import open_pairs
from tunesmith_trainer.methods.task import TableTask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.methods.plan import TrainingPlan

open_rows = open_pairs


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import RewardConfig

    from tunesmith_trainer.methods.reward_trainer import PreparedRewardTrainer

    arguments = RewardConfig(**trl_arguments(context))
    task = TableTask.begin(context, arguments, open_rows=open_rows, make_feed=make_feed)
    prepared = task.source.load(task.tokenizer)
    return task.plan(PreparedRewardTrainer(**task.trainer_arguments(prepared)), prepared)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.RewardConfig; see `methods.Method`."""
    from trl import RewardConfig

    # The block's fields have TRL's names.
    return config_arguments(context, RewardConfig, **method_block(context, RewardModelling).model_dump())


def make_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids of two sequences, and a margin."""
    encoder = Encoder(tokenizer, context.run.spec.training.max_length)
    return Feed(
        lambda drawn, counts: encode_comparisons(drawn, encoder, counts),
        ("chosen_ids", "rejected_ids", "margin"),
        encoder.max_length,
    )
