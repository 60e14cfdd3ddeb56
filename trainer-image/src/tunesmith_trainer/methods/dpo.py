"""Direct preference optimisation, with trl.DPOTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.dpo import Dpo
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.preference import make_pair_feed, open_pairs
from tunesmith_trainer.methods.task import TableTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.methods.plan import TrainingPlan

open_rows = open_pairs
make_feed = make_pair_feed


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import DPOConfig

    from tunesmith_trainer.methods.dpo_trainer import PreparedDPOTrainer

    options = method_block(context, Dpo)
    arguments = DPOConfig(**trl_arguments(context))
    task = TableTask.begin(context, arguments, open_rows=open_rows, make_feed=make_feed)
    if options.sync_ref_model and task.source.trains_adapter:
        raise InvalidSpec(
            "spec.dpo.syncRefModel: an earlier adapter is trained further, and its frozen copy can not follow it;"
            " remove syncRefModel, or use model.fromJob.fromAdapter: merge without peft"
        )
    prepared = task.source.load(task.tokenizer)
    reference = task.reference(prepared, ahead=options.precompute_ref_log_probs)
    return task.plan(PreparedDPOTrainer(ref_model=reference, **task.trainer_arguments(prepared)), prepared)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.DPOConfig; see `methods.Method`."""
    from trl import DPOConfig

    options = method_block(context, Dpo)
    losses, weights = zip(*_losses(options), strict=True)
    # The block's fields have TRL's names.
    own = options.model_dump() | {"loss_type": list(losses), "loss_weights": list(weights)}
    return config_arguments(context, DPOConfig, **own)


def _losses(options: Dpo) -> Iterator[tuple[str, float]]:
    """Yield TRL's losses and their weights; its `sigmoid` ignores label smoothing.

    Conservative DPO is -(1 - e) log s(x) - e log s(-x), where TRL's `robust` is
    (-(1 - e) log s(x) + e log s(-x)) / (1 - 2 e) and `sigmoid` is -log s(x). As log s(x) - log s(-x) = x, it is
    2 (1 - e) times `sigmoid` less (1 - 2 e) times `robust`.
    """
    share = options.label_smoothing
    weights = options.loss_weights or (1.0,) * len(options.loss_type)
    for loss, weight in zip(options.loss_type, weights, strict=True):
        if loss == "sigmoid" and share > 0:
            yield "sigmoid", 2 * (1 - share) * weight
            yield "robust", -(1 - 2 * share) * weight
        else:
            yield loss, weight
