"""trl.DPOTrainer on rows that are token ids already, with the spec's optimiser."""

from __future__ import annotations

from trl import DPOTrainer

from tunesmith_trainer.methods.reference_trainer import ReferenceTrainer


class PreparedDPOTrainer(ReferenceTrainer, DPOTrainer):
    """A DPOTrainer on encoded rows; see `ReferenceTrainer`."""

    reference_columns = ("ref_chosen_logps", "ref_rejected_logps")
