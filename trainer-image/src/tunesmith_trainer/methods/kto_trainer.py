"""trl.KTOTrainer on rows that are token ids already, with the spec's optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trl import KTOTrainer
from typing_extensions import override

from tunesmith_trainer.optimizers.trainer import SpecTrainer

if TYPE_CHECKING:
    from datasets import Dataset


class PreparedKTOTrainer(SpecTrainer, KTOTrainer):
    """A KTOTrainer that leaves its rows as they are; TRL 1.16 can be told so by overriding alone."""

    @override
    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset
