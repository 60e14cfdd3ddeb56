"""What supervised fine-tuning and pretraining share: a trainer that foretells the next token of encoded rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.packing import make_collator
from tunesmith_trainer.methods.arguments import config_arguments
from tunesmith_trainer.methods.task import Task
from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.models.separation import require_separation

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.feed import Feed
    from tunesmith_trainer.methods.causal_trainer import CausalTrainer
    from tunesmith_trainer.methods.plan import TrainingPlan


def causal_arguments(context: RunContext, pad_to_multiple_of: int | None) -> dict[str, Any]:
    """Return the arguments of trl.SFTConfig; see `methods.Method`.

    Args:
        context: The run.
        pad_to_multiple_of: What the length of a batch is a multiple of.
    """
    from trl import SFTConfig

    # Rows are token ids already.
    ready = {"skip_prepare_dataset": True}
    return config_arguments(context, SFTConfig, dataset_kwargs=ready, pad_to_multiple_of=pad_to_multiple_of)


@dataclass(frozen=True)
class CausalTask(Task):
    """A task whose rows may be a stream, or share sequences.

    Attributes:
        feed: How rows become token ids.
        shared_by: The field that lets rows share a sequence, with no token seeing another row; None when none does.
    """

    feed: Feed
    shared_by: str | None = None

    def plan(self, **report: Any) -> TrainingPlan:
        """Return a trainer that is ready to train; see `methods.Method`.

        Args:
            report: What else the run's record tells about the data.
        """
        train, evaluation = self.corpora.train, self.corpora.evaluation
        processing = self.context.run.spec.data_processing
        callbacks = []
        if processing.streaming:
            from tunesmith_trainer.callbacks.streaming import StreamCallback

            order_seed = self.context.run.spec.training.order_seed
            rows, progress = self.feed.stream(train, processing, order_seed)
            told: dict[str, Any] = {}
            callbacks.append(StreamCallback(progress, told))
        else:
            rows, told = self.feed.table(train, "train on")
        held_out, held_out_told = (None, None) if evaluation is None else self.feed.table(evaluation, "evaluate on")
        prepared = self.source.load(self.tokenizer)
        from tunesmith_trainer.methods.causal_trainer import CausalTrainer

        trainer = CausalTrainer(callbacks=callbacks, **self.arguments_on(rows, held_out, prepared))
        settle_adapter(trainer.model)
        use_plain_head(trainer)
        self._share_sequences(trainer)
        return self.plan_of(trainer, prepared, {"train": told, "evaluation": held_out_told} | report)

    def _share_sequences(self, trainer: CausalTrainer) -> None:
        """Make batches in which rows share sequences, where the spec asks for it."""
        if self.shared_by is not None:
            trainer.data_collator = make_collator(trainer, packed=self.feed.packing is not None)
            require_separation(trainer, self.shared_by)
