"""Several rows in one sequence: best-fit decreasing by TRL, and batches in which no token sees another row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.encode import IGNORED

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel
    from trl import SFTTrainer

    from tunesmith_api.v1alpha1.methods.pretrain import PackingStrategy

LENGTHS = "seq_lengths"
"""Column of a packed row: the length of each row in it, as TRL names it."""


def pack(table: Dataset, length: int, strategy: PackingStrategy) -> Dataset:
    """Return rows combined into sequences; within each thousand of them the longest find their place first.

    Args:
        table: The rows: ids, and labels where they differ.
        length: Longest sequence, in tokens.
        strategy: What becomes of longer rows: `bfd` cuts them off, `bfd_split` makes several of them.
    """
    from trl import pack_dataset

    return pack_dataset(table, length, strategy, {"keep_in_memory": True})


@dataclass(frozen=True)
class PackedCollator:
    """Makes batches of packed rows, one sequence each.

    There is no attention mask: without one Transformers sees by the positions, which begin again with each row, that
    tokens before that place are another row's. TRL puts all sequences of a batch behind one another instead; that suits
    flash attention, while others then compute each token's attention to the whole batch.

    Attributes:
        pad_token_id: The token to pad with.
        pad_to_multiple_of: Pad to the next multiple of this many tokens.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return ids, labels and positions of the rows."""
        import torch

        positions = self._pad(
            [torch.cat([torch.arange(length) for length in example[LENGTHS]]) for example in examples], 0
        )
        labels = self._pad([torch.tensor(example.get("labels", example["input_ids"])) for example in examples], IGNORED)
        # The first token of a row is foretold by nothing; here the last of another row stands before it.
        labels[positions == 0] = IGNORED
        ids = self._pad([torch.tensor(example["input_ids"]) for example in examples], self.pad_token_id)
        return {"input_ids": ids, "labels": labels, "position_ids": positions}

    def _pad(self, rows: list[torch.Tensor], value: int) -> torch.Tensor:
        import torch

        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
        missing = -padded.shape[1] % (self.pad_to_multiple_of or 1)
        return torch.nn.functional.pad(padded, (0, missing), value=value)


def make_collator(trainer: SFTTrainer, *, packed: bool) -> Any:
    """Return what makes batches in which rows share sequences.

    Args:
        trainer: The trainer; the attention of its model decides how packed rows are laid out.
        packed: Whether rows are packed; else those of a batch are put behind one another.
    """
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    padding = trainer.processing_class.pad_token_id
    multiple = trainer.args.pad_to_multiple_of
    if packed and not _is_flash(trainer.model):
        return PackedCollator(padding, multiple)
    return DataCollatorForLanguageModeling(padding, padding_free=True, pad_to_multiple_of=multiple)


def real_tokens(position_ids: torch.Tensor) -> torch.Tensor:
    """Return how many tokens of packed rows are no padding: padding stays at position 0, and a row has more than one.

    Args:
        position_ids: The positions of a batch.
    """
    return (position_ids > 0).sum() + (position_ids == 1).sum()


def _is_flash(model: PreTrainedModel) -> bool:
    return "flash" in str(model.config._attn_implementation)  # noqa: SLF001 - transformers offers no other way to ask
