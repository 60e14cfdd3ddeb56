"""What the methods share that learn from preferences: rows of pairs, and the order in which a trainer is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Encoder, encode_preferences
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.methods.plan import TrainingPlan
from tunesmith_trainer.models.adapters.lora import lora_b_ratio
from tunesmith_trainer.models.prepare import plan_model
from tunesmith_trainer.models.tokenizers import ensure_chat_template

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora
    from tunesmith_trainer.models.prepare import ModelPlan, PreparedModel


def open_pairs(context: RunContext) -> Corpora:
    """Return the rows to train and to evaluate on; see `methods.Method.open_rows`."""
    return open_corpora(context.run.spec, context, ("preference",))


def make_pair_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids of prompt and answers."""
    encoder = Encoder(tokenizer, context.run.spec.training.max_length)
    return Feed(
        lambda drawn, counts: encode_preferences(drawn, encoder, counts),
        ("prompt_ids", "chosen_ids", "rejected_ids"),
        encoder.max_length,
    )


@dataclass(frozen=True)
class PreferenceTask:
    """What is ready before the model is loaded.

    Attributes:
        context: The run.
        arguments: The trainer's arguments.
        source: Where the model comes from.
        tokenizer: Its tokenizer.
        corpora: The rows.
        train: Those to train on, as token ids.
        held_out: Those to evaluate on, None without any.
        report: What the run's record tells about them.
    """

    context: RunContext
    arguments: TrainingArguments
    source: ModelPlan
    tokenizer: PreTrainedTokenizerBase
    corpora: Corpora
    train: Dataset
    held_out: Dataset | None
    report: dict[str, Any]

    @classmethod
    def begin(
        cls,
        context: RunContext,
        arguments: TrainingArguments,
        *,
        open_rows: Callable[[RunContext], Corpora] = open_pairs,
        make_feed: Callable[[RunContext, PreTrainedTokenizerBase], Feed] = make_pair_feed,
    ) -> PreferenceTask:
        """Read and encode the rows.

        Args:
            context: The run.
            arguments: The trainer's arguments; making them made the processes know each other, which fetch rows once.
            open_rows: See `methods.Method`.
            make_feed: See `methods.Method`.
        """
        corpora = open_rows(context)
        source = plan_model(context, arguments)
        tokenizer = source.tokenizer((), arguments)
        given_template = corpora.chat and ensure_chat_template(tokenizer)
        feed = make_feed(context, tokenizer)
        train, told = feed.table(corpora.train, "train on")
        held_out, held_out_told = feed.table(corpora.evaluation, "evaluate on") if corpora.evaluation else (None, None)
        report = {"train": told, "evaluation": held_out_told, "chatTemplateGiven": given_template}
        return cls(context, arguments, source, tokenizer, corpora, train, held_out, report)

    def trainer_arguments(self, prepared: PreparedModel) -> dict[str, Any]:
        """Return what every trainer is made with."""
        return {
            "training": self.context.run.spec.training,
            "lora_b_ratio": lora_b_ratio(self.context.run.spec.peft),
            "model": prepared.model,
            "args": self.arguments,
            "train_dataset": self.train,
            "eval_dataset": self.held_out,
            "processing_class": self.tokenizer,
            "peft_config": prepared.adapter,
        }

    def plan(self, trainer: Trainer, prepared: PreparedModel) -> TrainingPlan:
        """Return the trainer as a run takes it."""
        return TrainingPlan(
            trainer=trainer,
            output=prepared.output,
            evaluates=self.held_out is not None,
            data_digest=self.corpora.digest,
            data_report=self.corpora.report | self.report,
        )
