"""Odds ratio preference optimisation, with trl.experimental.orpo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.orpo import Orpo
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.preference import make_pair_feed, open_pairs

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.methods.plan import TrainingPlan

open_rows = open_pairs
make_feed = make_pair_feed


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from tunesmith_trainer.methods.pair_trainers import ORPOConfig, PreparedORPOTrainer, pair_plan

    arguments = ORPOConfig(**trl_arguments(context))
    return pair_plan(context, arguments, PreparedORPOTrainer, method_block(context, Orpo).pad_to_multiple_of)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of TRL's ORPOConfig; see `methods.Method`."""
    from tunesmith_trainer.methods.pair_trainers import PAIR_ARGUMENTS, ORPOConfig

    return config_arguments(context, ORPOConfig, beta=method_block(context, Orpo).beta, **PAIR_ARGUMENTS)
