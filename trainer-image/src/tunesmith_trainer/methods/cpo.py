"""Contrastive preference optimisation, with trl.experimental.cpo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.cpo import Cpo
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.preference import make_pair_feed, open_pairs

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.methods.plan import TrainingPlan

open_rows = open_pairs
make_feed = make_pair_feed


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from tunesmith_trainer.methods.pair_trainers import CPOConfig, PreparedCPOTrainer, pair_plan

    arguments = CPOConfig(**trl_arguments(context))
    return pair_plan(context, arguments, PreparedCPOTrainer, method_block(context, Cpo).pad_to_multiple_of)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of TRL's CPOConfig; see `methods.Method`."""
    from tunesmith_trainer.methods.pair_trainers import PAIR_ARGUMENTS, CPOConfig

    options = method_block(context, Cpo)
    return config_arguments(
        context,
        CPOConfig,
        loss_type=options.loss_type,
        beta=options.beta,
        label_smoothing=options.label_smoothing,
        cpo_alpha=options.cpo_alpha,
        # SimPO's: the first has no effect here, and the second overflows on sums of log-probabilities.
        simpo_gamma=0.0,
        alpha=0.0,
        **PAIR_ARGUMENTS,
    )
