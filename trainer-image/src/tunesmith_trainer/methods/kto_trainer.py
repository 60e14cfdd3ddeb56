"""trl.KTOTrainer on rows that are token ids already, with the spec's optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trl import KTOTrainer
from typing_extensions import override

from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.optimizers.trainer import SpecTrainer

if TYPE_CHECKING:
    from datasets import Dataset


class PreparedKTOTrainer(SpecTrainer, KTOTrainer):
    """A KTOTrainer that leaves its rows as they are; TRL 1.16 can be told so by overriding alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a trainer; see `SpecTrainer`."""
        super().__init__(*args, **kwargs)
        settle_adapter(self.model)
        use_plain_head(self)

    @override
    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset
