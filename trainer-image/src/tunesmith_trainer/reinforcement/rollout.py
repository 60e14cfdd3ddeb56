"""Completions that a policy has sampled, laid out to be scored and trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

from tunesmith_trainer.reinforcement.critic import completion_logits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from tunesmith_trainer.generation import Ids
    from tunesmith_trainer.reinforcement.critic import ActorCritic

Batch = dict[str, "Tensor"]
"""One row per completion: `input_ids` and `attention_mask`, and of the last tokens `mask` and figures per token."""


def lay_out(prompts: Sequence[Ids], completions: Sequence[Ids], padding: int, device: Any) -> Batch:
    """Return the sequences, padded on the right, and which of their last tokens are the completion's.

    On the right, each token has the position that it has in a sequence by itself, whatever positions a model knows.
    """
    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    length = max(map(len, rows))
    start = min(map(len, prompts))
    mask = [
        [len(prompt) <= place < len(row) for place in range(start, length)]
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    return {
        "input_ids": torch.tensor([row + [padding] * (length - len(row)) for row in rows], device=device),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device),
        "mask": torch.tensor(mask, device=device),
    }


def take(batch: Batch, rows: Tensor | slice) -> Batch:
    """Return some rows of a batch."""
    return {name: values[rows] for name, values in batch.items()}


def token_log_probs(logits: Tensor, batch: Batch, temperature: float) -> Tensor:
    """Return the log-probabilities of the completions' tokens, and 0 where there is none."""
    mask = batch["mask"]
    targets = batch["input_ids"][:, -mask.shape[1] :]
    log_probs: Tensor = selective_log_softmax(logits.float() / temperature, targets)
    return log_probs.masked_fill(~mask, 0.0)


def token_entropy(logits: Tensor, temperature: float) -> Tensor:
    """Return the entropy of each next token, in nats."""
    entropy: Tensor = entropy_from_logits(logits.float() / temperature)
    return entropy


def add_foresight(
    batch: Batch, pair: ActorCritic, reference: Any, *, temperature: float, size: int, beat: Callable[[], None]
) -> Batch:
    """Return a batch with what policy, reference and value model said of its tokens before it is trained on.

    Args:
        batch: The completions.
        pair: Policy and value model.
        reference: The model that the policy is not to leave too far behind.
        temperature: Divides the logits.
        size: Rows of one forward pass.
        beat: Called after each.
    """
    parts = []
    for start in range(0, len(batch["mask"]), size):
        part = take(batch, slice(start, start + size))
        with torch.no_grad():
            parts.append(_foresight(part, pair, reference, temperature))
        beat()
    return batch | {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _foresight(part: Batch, pair: ActorCritic, reference: Any, temperature: float) -> Batch:
    inputs = part["input_ids"], part["attention_mask"], part["mask"].shape[1]
    logits, values = pair(*inputs)
    return {
        "log_probs": token_log_probs(logits, part, temperature),
        "reference_log_probs": token_log_probs(completion_logits(reference, *inputs), part, temperature),
        "values": values.masked_fill(~part["mask"], 0.0),
    }
