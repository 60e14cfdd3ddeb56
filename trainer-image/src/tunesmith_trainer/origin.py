"""`model.resumeFrom`: the state of another job's checkpoint, from which a run takes its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.checkpoints import step_of
from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith_trainer.context import RunContext

_SCHEDULER_FILE = "scheduler.pt"  # as transformers names it in a checkpoint


def origin(context: RunContext, trainer: Any) -> Path | None:
    """Return the checkpoint that a run without one of its own goes on from, and let the trainer restore its state.

    Raises:
        InvalidSpec: The run is over where the checkpoint is.
    """
    place, wanted = context.run.model.checkpoint, context.run.spec.model.resume_from
    if place is None or wanted is None:
        return None
    checkpoint = context.claim_path(place.claim, place.path)
    if step_of(checkpoint) >= trainer.args.max_steps:
        raise InvalidSpec(
            f"spec.training.maxSteps {trainer.args.max_steps} is not beyond step {step_of(checkpoint)} of the"
            " checkpoint of model.resumeFrom; steps are counted from the first one of that job: raise it"
        )
    _restore(trainer, load_optimizer_state=wanted.load_optimizer_state)
    return checkpoint


def _restore(trainer: Any, *, load_optimizer_state: bool) -> None:
    """Change how a trainer restores optimiser and schedule: it knows all or nothing, and the rate of the other job."""
    import torch
    from torch.optim.lr_scheduler import LambdaLR

    load = trainer._load_optimizer_and_scheduler  # noqa: SLF001 - what train() calls; it has no flag for a part

    def restore(checkpoint: str) -> None:
        if not isinstance(trainer.lr_scheduler, LambdaLR):
            raise InvalidSpec(
                f"spec.training.lrSchedulerType: {trainer.args.lr_scheduler_type} can not go on from a checkpoint at"
                " another learning rate; use another schedule, or start from that job's output with model.fromJob"
            )
        rates = list(trainer.lr_scheduler.base_lrs)
        if load_optimizer_state:
            load(checkpoint)
        else:
            state = torch.load(f"{checkpoint}/{_SCHEDULER_FILE}", weights_only=True)
            trainer.lr_scheduler.load_state_dict(state)
        _set_rates(trainer.lr_scheduler, rates)

    trainer._load_optimizer_and_scheduler = restore  # noqa: SLF001 - see above


def _set_rates(scheduler: Any, rates: list[float]) -> None:
    """Let a schedule go on from where it is at other peak rates: its state brought the other job's along."""
    scheduler.base_lrs = rates
    shares = [share(scheduler.last_epoch) for share in scheduler.lr_lambdas]
    for group, rate, share in zip(scheduler.optimizer.param_groups, rates, shares, strict=True):
        group["initial_lr"], group["lr"] = rate, rate * share
    scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]  # noqa: SLF001 - what is logged
