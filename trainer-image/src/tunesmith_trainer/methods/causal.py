"""What supervised fine-tuning and pretraining share: a trainer that foretells the next token of encoded rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.packing import make_collator
from tunesmith_trainer.methods.arguments import config_arguments
from tunesmith_trainer.methods.plan import TrainingPlan
from tunesmith_trainer.models.adapters.lora import lora_b_ratio
from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.models.separation import require_separation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTConfig

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora
    from tunesmith_trainer.data.feed import Feed
    from tunesmith_trainer.methods.causal_trainer import CausalTrainer
    from tunesmith_trainer.models.prepare import ModelPlan


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
class CausalTask:
    """What a method found out before the model is loaded.

    Attributes:
        context: The run.
        arguments: The trainer's arguments.
        source: Where the model comes from.
        tokenizer: Its tokenizer.
        corpora: The rows.
        feed: How they become token ids.
        shared_by: The field that lets rows share a sequence, with no token seeing another row; None when none does.
    """

    context: RunContext
    arguments: SFTConfig
    source: ModelPlan
    tokenizer: PreTrainedTokenizerBase
    corpora: Corpora
    feed: Feed
    shared_by: str | None = None

    def plan(self, **report: Any) -> TrainingPlan:
        """Return a trainer that is ready to train; see `methods.Method`.

        Args:
            report: What else the run's record tells about the data.
        """
        train, evaluation = self.corpora.train, self.corpora.evaluation
        processing, training = self.context.run.spec.data_processing, self.context.run.spec.training
        callbacks = []
        if processing.streaming:
            from tunesmith_trainer.callbacks.streaming import StreamCallback

            rows, progress = self.feed.stream(train, processing, training.order_seed)
            told: dict[str, Any] = {}
            callbacks.append(StreamCallback(progress, told))
        else:
            rows, told = self.feed.table(train, "train on")
        held_out, held_out_told = (None, None) if evaluation is None else self.feed.table(evaluation, "evaluate on")
        prepared = self.source.load(self.tokenizer)
        from tunesmith_trainer.methods.causal_trainer import CausalTrainer

        trainer = CausalTrainer(
            training=training,
            lora_b_ratio=lora_b_ratio(self.context.run.spec.peft),
            model=prepared.model,
            args=self.arguments,
            train_dataset=rows,
            eval_dataset=held_out,
            processing_class=self.tokenizer,
            peft_config=prepared.adapter,
            callbacks=callbacks,
        )
        settle_adapter(trainer.model)
        use_plain_head(trainer)
        self._share_sequences(trainer)
        return TrainingPlan(
            trainer=trainer,
            output=prepared.output,
            evaluates=held_out is not None,
            data_digest=self.corpora.digest,
            data_report=self.corpora.report | {"train": told, "evaluation": held_out_told} | report,
        )

    def _share_sequences(self, trainer: CausalTrainer) -> None:
        """Make batches in which rows share sequences, where the spec asks for it."""
        if self.shared_by is not None:
            trainer.data_collator = make_collator(trainer, packed=self.feed.packing is not None)
            require_separation(trainer, self.shared_by)
