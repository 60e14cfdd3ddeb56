"""What the methods share: the order in which a trainer is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.methods.plan import TrainingPlan
from tunesmith_trainer.models.adapters.lora import lora_b_ratio
from tunesmith_trainer.models.adapters.settling import require_unchanged_base
from tunesmith_trainer.models.prepare import plan_model
from tunesmith_trainer.models.reference import reference_model
from tunesmith_trainer.models.tokenizers import ensure_chat_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora
    from tunesmith_trainer.data.feed import Feed
    from tunesmith_trainer.models.prepare import ModelPlan, PreparedModel


@dataclass(frozen=True)
class Task:
    """What is ready before the model is loaded.

    Attributes:
        context: The run.
        arguments: The trainer's arguments.
        source: Where the model comes from.
        tokenizer: Its tokenizer.
        corpora: The rows.
    """

    context: RunContext
    arguments: TrainingArguments
    source: ModelPlan
    tokenizer: PreTrainedTokenizerBase
    corpora: Corpora

    def arguments_on(self, train: Any, held_out: Dataset | None, prepared: PreparedModel) -> dict[str, Any]:
        """Return what every trainer of TRL's is made with.

        Args:
            train: Rows to train on, as token ids.
            held_out: Those to evaluate on, None without any.
            prepared: The model to train.
        """
        return {
            "training": self.context.run.spec.training,
            "lora_b_ratio": lora_b_ratio(self.context.run.spec.peft),
            "model": prepared.model,
            "args": self.arguments,
            "train_dataset": train,
            "eval_dataset": held_out,
            "processing_class": self.tokenizer,
            "peft_config": prepared.adapter,
        }

    def plan_of(self, trainer: Trainer, prepared: PreparedModel, report: dict[str, Any]) -> TrainingPlan:
        """Return the trainer as a run takes it.

        Args:
            trainer: The trainer.
            prepared: Its model.
            report: What the run's record tells about the rows; `evaluation` is None without any.
        """
        return TrainingPlan(
            trainer=trainer,
            output=prepared.output,
            evaluates=report["evaluation"] is not None,
            data_digest=self.corpora.digest,
            data_report=self.corpora.report | report,
        )


@dataclass(frozen=True)
class TableTask(Task):
    """A task whose rows are tables, read and encoded.

    Attributes:
        train: Rows to train on, as token ids.
        held_out: Those to evaluate on, None without any.
        report: What the run's record tells about them.
    """

    train: Dataset
    held_out: Dataset | None
    report: dict[str, Any]

    @classmethod
    def begin(
        cls,
        context: RunContext,
        arguments: TrainingArguments,
        *,
        open_rows: Callable[[RunContext], Corpora],
        make_feed: Callable[[RunContext, PreTrainedTokenizerBase], Feed],
    ) -> TableTask:
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

    def reference(self, prepared: PreparedModel, *, ahead: bool = False) -> PreTrainedModel | None:
        """Return the frozen model to compare with; None where TRL compares with the trained one.

        That is the trained one with its adapter switched off or as it was.

        Args:
            prepared: The model to train.
            ahead: Whether all is compared before the first step, when the trained model is its own reference.

        Raises:
            ModelNotFound: See `reference_model`.
            InvalidSpec: See `reference_model` and `require_unchanged_base`.
        """
        if self.context.run.reference is None:
            if prepared.adapter_config is not None:
                require_unchanged_base(prepared.adapter_config)
            if ahead:
                return None
        return reference_model(self.context, prepared, self.tokenizer)

    def trainer_arguments(self, prepared: PreparedModel) -> dict[str, Any]:
        """Return what every trainer of TRL's is made with."""
        return self.arguments_on(self.train, self.held_out, prepared)

    def plan(self, trainer: Trainer, prepared: PreparedModel, **report: Any) -> TrainingPlan:
        """Return the trainer as a run takes it.

        Args:
            trainer: The trainer.
            prepared: Its model.
            report: What else the run's record tells.
        """
        return self.plan_of(trainer, prepared, self.report | report)
