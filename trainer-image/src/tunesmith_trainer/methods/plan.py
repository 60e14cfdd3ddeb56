"""What a method hands over to be run: a trainer that is ready, and what the rest has to know about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import Trainer

    from tunesmith_api.v1alpha1.status import HubModel, VolumePath
    from tunesmith_trainer.models.output import OutputWriter

ArtifactKind = Literal["model", "adapter"]


@dataclass(frozen=True)
class TrainingPlan:
    """A run, ready to start.

    Attributes:
        trainer: The trainer, with model and data.
        output: What writes the trained model or adapter.
        evaluates: Whether there are held-out rows.
        data_digest: `sha256:` over the data and over how it is read.
        data_report: What was found in the data, and what became of its rows.
    """

    trainer: Trainer
    output: OutputWriter
    evaluates: bool
    data_digest: str
    data_report: dict[str, Any] = field(default_factory=dict)

    @property
    def base_model(self) -> VolumePath | HubModel | None:
        """The model that a trained adapter belongs to, None for a whole model."""
        return None if self.output.base is None else self.output.base.place

    @property
    def chat(self) -> bool:
        """Whether any of the rows are chats, so that the model learns its chat template."""
        return any(source.get("chat") for source in self.data_report["sources"])

    @property
    def tells_perplexity(self) -> bool:
        """Whether the held-out loss is the mean negative log-likelihood of a token, and nothing else."""
        arguments = self.trainer.args
        # TRL's losses: those of language modelling alone are called so.
        return "nll" in str(getattr(arguments, "loss_type", "")) and not arguments.label_smoothing_factor

    def save_output(self, directory: Path) -> ArtifactKind:
        """Write the trained model or adapter, its tokenizer, chat template and generation config.

        Every rank calls it at the same step; rank 0 writes.

        Args:
            directory: An empty folder.
        """
        return self.output.save(self.trainer, directory)
