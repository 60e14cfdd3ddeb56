"""Group relative policy optimisation, with trl.GRPOTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.methods.online import make_feed, online_arguments, online_plan, open_rows

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.methods.plan import TrainingPlan

__all__ = ["build", "make_feed", "open_rows", "trl_arguments"]


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import GRPOConfig

    from tunesmith_trainer.methods.online_trainer import PreparedGRPOTrainer

    return online_plan(context, GRPOConfig(**trl_arguments(context)), PreparedGRPOTrainer)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.GRPOConfig; see `methods.Method`."""
    from trl import GRPOConfig

    return online_arguments(context, GRPOConfig)
