"""Does a model keep packed rows apart? Seen by trying: not every class masks attention by positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

_LENGTH = 8
_TOLERANCE = 1e-3  # of what a change within the row itself does; what is masked changes nothing at all


def require_separation(trainer: Trainer, field: str) -> None:
    """Refuse a model in which a packed row is influenced by the row before it.

    Args:
        trainer: The trainer, with model and collator.
        field: The spec's field that asks for it, for messages.

    Raises:
        InvalidSpec: The model lets packed rows see each other.
    """
    import torch

    if getattr(getattr(trainer.model, "active_peft_config", None), "is_prompt_learning", False):
        raise InvalidSpec(f"{field}: learnt embeddings stand before a sequence's first row alone; remove it")
    training = trainer.model.training
    trainer.model.eval()
    with torch.no_grad():
        one, other, own = (_hidden(trainer, *rows) for rows in ((1, 3), (2, 3), (1, 4)))
    trainer.model.train(training)
    if _distance(one, other) > _TOLERANCE * _distance(one, own):
        raise InvalidSpec(
            f"{field}: a {type(trainer.model).__name__} does not keep rows apart that share a sequence: each would"
            " learn from the one before; remove it"
        )


def _hidden(trainer: Trainer, first: int, second: int) -> torch.Tensor:
    """Return the logits of the second of two rows in one sequence, each made of a start and one token repeated."""
    rows = [[0] + [first] * (_LENGTH - 1), [0] + [second] * (_LENGTH - 1)]
    batch: dict[str, Any] = trainer.data_collator([{"input_ids": rows[0] + rows[1], "seq_lengths": [_LENGTH, _LENGTH]}])
    del batch["labels"]
    batch = {name: value.to(trainer.args.device) if hasattr(value, "to") else value for name, value in batch.items()}
    return trainer.model(**batch, use_cache=False).logits[0, _LENGTH : 2 * _LENGTH]


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).abs().max())
