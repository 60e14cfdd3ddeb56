"""TRL's experimental trainers of pairs, on rows that are token ids already, with the spec's optimiser.

They have no reference model. What of TRL's experimental tree is relied on, a contract test pins.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from trl.import_utils import TRLExperimentalWarning
from trl.trainer.dpo_trainer import DataCollatorForPreference
from typing_extensions import override

from tunesmith_trainer.data.encode import IGNORED
from tunesmith_trainer.methods.preference import make_pair_feed, open_pairs
from tunesmith_trainer.methods.task import TableTask
from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.optimizers.trainer import SpecTrainer

with warnings.catch_warnings():
    # That they may change concerns us, who pin them, not who reads the pod's log.
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from torch import nn

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.methods.plan import TrainingPlan

__all__ = ["PAIR_ARGUMENTS", "CPOConfig", "ORPOConfig", "PreparedCPOTrainer", "PreparedORPOTrainer", "pair_plan"]

PAIR_ARGUMENTS = {"remove_unused_columns": False}
"""What these trainers would otherwise set by themselves, and warn about."""


class _PairTrainer(SpecTrainer):
    """Hands the same rows and batches to TRL's trainers as DPO has: chosen answers first, then the rejected ones.

    TRL would make token ids of every row in three passes, end a chat with a second end, and keep each token three
    times. It gets no rows to prepare, and the batches as they are.
    """

    def __init__(
        self,
        *args: Any,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        pad_to_multiple_of: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Make a trainer.

        Args:
            args: See `SpecTrainer`.
            train_dataset: Rows of prompt_ids, chosen_ids and rejected_ids.
            eval_dataset: The same, held out.
            pad_to_multiple_of: What the length of a batch is a multiple of.
            kwargs: See `SpecTrainer`.
        """
        nothing = train_dataset.select(range(0))
        super().__init__(*args, train_dataset=nothing, eval_dataset=None if eval_dataset is None else nothing, **kwargs)
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.data_collator = DataCollatorForPreference(
            self.processing_class.pad_token_id,
            max_length=self.args.max_length,
            pad_to_multiple_of=pad_to_multiple_of,
        )
        self._train_tokens = 0
        settle_adapter(self.model)

    @staticmethod
    def concatenated_inputs(batch: dict[str, torch.Tensor], **_: Any) -> dict[str, torch.Tensor]:
        """Return a batch under the names that TRL's forward pass looks for."""
        return {
            "concatenated_input_ids": batch["input_ids"],
            "concatenated_attention_mask": batch["attention_mask"],
            "concatenated_labels": batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED),
        }

    def concatenated_forward(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> Any:
        """Return the log-probabilities, logits and likelihood of both answers of each pair; see TRL."""

        def scored(ids: torch.Tensor, **kwargs: Any) -> Any:
            outputs = model(ids, **kwargs)
            # Learnt embeddings come before the tokens, and score none of them.
            outputs.logits = outputs.logits[:, -ids.shape[1] :]
            return outputs

        if self.model.training:
            counted = self.accelerator.gather_for_metrics(batch["attention_mask"].sum()).sum()
            self._train_tokens += int(counted)
        # TRL asks these labels for nothing but how many pairs there are.
        with_labels = batch | {"chosen_labels": batch["input_ids"].chunk(2)[0]}
        return super().concatenated_forward(scored, with_labels)

    @override
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training:
            logs["num_tokens"] = self._train_tokens  # as DPO tells it
        super().log(logs, start_time)


class PreparedORPOTrainer(_PairTrainer, ORPOTrainer):
    """An ORPOTrainer on encoded rows."""


class PreparedCPOTrainer(_PairTrainer, CPOTrainer):
    """A CPOTrainer on encoded rows, which does SimPO too."""


def pair_plan(
    context: RunContext,
    arguments: CPOConfig | ORPOConfig,
    trainer_class: type[PreparedCPOTrainer | PreparedORPOTrainer],
    pad_to_multiple_of: int | None,
) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`.

    Args:
        context: The run.
        arguments: The trainer's arguments.
        trainer_class: The trainer of the method.
        pad_to_multiple_of: What the length of a batch is a multiple of.
    """
    task = TableTask.begin(context, arguments, open_rows=open_pairs, make_feed=make_pair_feed)
    prepared = task.source.load(task.tokenizer)
    trainer = trainer_class(pad_to_multiple_of=pad_to_multiple_of, **task.trainer_arguments(prepared))
    return task.plan(trainer, prepared)
