"""trl.KTOTrainer on rows that are token ids already, with the spec's optimiser."""

from __future__ import annotations

from trl import KTOTrainer

from tunesmith_trainer.methods.reference_trainer import ReferenceTrainer


class PreparedKTOTrainer(ReferenceTrainer, KTOTrainer):
    """A KTOTrainer on encoded rows; see `ReferenceTrainer`."""

    reference_columns = ("ref_logps", "ref_KL_logps")
