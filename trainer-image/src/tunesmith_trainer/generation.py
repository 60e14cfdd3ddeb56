"""Completions of a causal language model: token ids in, token ids out, several prompts at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = list[int]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: Longest completion, in tokens.
        temperature: 0 takes the likeliest token (greedy); higher values draw more freely.
        top_k: Draw from this many of the likeliest tokens; 0 from all.
        top_p: Draw from the likeliest tokens that together have this probability; 1 from all.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `generate`; what a model's own generation config says of drawing is set aside."""
        if self.temperature == 0:
            return {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        return {"do_sample": True, "temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}


def complete(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Ids],
    sampling: Sampling,
    *,
    keeps_end: bool = False,
    beat: Callable[[], None] | None = None,
    streamer: Any = None,
) -> list[Ids]:
    """Return the completions, without the prompts and without what comes after their end.

    Args:
        model: The model, ready for inference.
        tokenizer: Its tokenizer.
        prompts: Token ids, of any lengths.
        sampling: How tokens are chosen.
        keeps_end: Whether a completion that ended keeps the token that says so.
        beat: Called at every token.
        streamer: Where tokens go as they come, for one prompt; see `transformers.TextStreamer`.
    """
    import torch
    from transformers import StoppingCriteriaList

    length = max(map(len, prompts))
    padding = tokenizer.pad_token_id
    # On the left, so that every completion begins at the same place.
    ids = torch.tensor([[padding] * (length - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    with torch.no_grad():
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=sampling.max_new_tokens,
            use_cache=True,
            streamer=streamer,
            stopping_criteria=None if beat is None else StoppingCriteriaList([beating(beat)]),
            **sampling.arguments(),
        )
    ends = end_ids(model)
    return [_until_end(row, ends, keeps_end=keeps_end) for row in output[:, length:].tolist()]


def beating(beat: Callable[[], None]) -> Any:
    """Return a stopping criterion that never stops, but shows at every token that something is being done."""
    import torch

    def goes_on(input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        beat()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    return goes_on


def end_ids(model: Any) -> set[int]:
    """Return the ids of the tokens that end a completion."""
    ends = model.generation_config.eos_token_id
    return {ends} if isinstance(ends, int) else set(ends or ())


def _until_end(ids: Ids, ends: set[int], *, keeps_end: bool) -> Ids:
    return next((ids[: place + keeps_end] for place, token in enumerate(ids) if token in ends), ids)
