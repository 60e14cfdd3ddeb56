"""Simple preference optimisation, with trl.experimental.cpo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.simpo import Simpo
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
    return pair_plan(context, arguments, PreparedCPOTrainer, method_block(context, Simpo).pad_to_multiple_of)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of TRL's CPOConfig; see `methods.Method`."""
    from tunesmith_trainer.methods.pair_trainers import PAIR_ARGUMENTS, CPOConfig

    options = method_block(context, Simpo)
    return config_arguments(
        context,
        CPOConfig,
        loss_type="simpo",
        beta=options.beta,
        simpo_gamma=options.simpo_gamma,
        cpo_alpha=options.cpo_alpha,
        label_smoothing=options.label_smoothing,
        alpha=options.alpha,
        **PAIR_ARGUMENTS,
    )
