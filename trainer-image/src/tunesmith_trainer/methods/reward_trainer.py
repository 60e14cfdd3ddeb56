"""trl.RewardTrainer with the spec's optimiser, whose models are not told of margins."""

from __future__ import annotations

from typing import Any

from trl import RewardTrainer

from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.optimizers.trainer import SpecTrainer

_MARGIN = "margin"


class PreparedRewardTrainer(SpecTrainer, RewardTrainer):
    """A RewardTrainer that keeps margins from the model: TRL 1.16 hands it the whole batch.

    Models without further arguments would refuse them, and attention kernels be given them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a trainer; see `SpecTrainer`."""
        super().__init__(*args, **kwargs)
        settle_adapter(self.model)
        self.model.register_forward_pre_hook(_without_margin, with_kwargs=True)


def _without_margin(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {name: value for name, value in kwargs.items() if name != _MARGIN}
