"""Rows made into token ids and labels, truncated and counted, as TRL's own preparation would make them.

TRL does this row by row in half a dozen passes over temporary files and drops what it cuts away without a word. Here it
is one pass in batches that counts; a test holds the two against each other.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.rows import Content, Row, is_chat
from tunesmith_trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that carries no loss, in torch and transformers
_BATCH_ROWS = 512

Ids = list[int]


@dataclass
class Counts:
    """What became of the rows.

    Attributes:
        rows: Rows that were read.
        used: Rows that are trained on.
        truncated: Rows of these that were longer than `maxLength`.
        dropped: Rows without a completion token within `maxLength`, which carry no loss.
        tokens: Tokens of the used rows.
    """

    rows: int = 0
    used: int = 0
    truncated: int = 0
    dropped: int = 0
    tokens: int = 0

    def report(self) -> dict[str, int]:
        """Return the counts for the run's record."""
        return asdict(self)


@dataclass(frozen=True)
class Encoder:
    """Makes token ids of texts and chats.

    Attributes:
        tokenizer: The model's tokenizer; chats need its chat template.
        max_length: Longest sequence, in tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int

    def encode(self, contents: list[Content], *, generation_prompt: bool = False) -> list[Ids]:
        """Return the token ids of texts, or of chats.

        Args:
            contents: All texts or all chats.
            generation_prompt: Whether a chat ends with the beginning of the assistant's next message.
        """
        if not isinstance(contents[0], list):
            return self._ids(contents, special_tokens=True)
        rendered = self.tokenizer.apply_chat_template(contents, tokenize=False, add_generation_prompt=generation_prompt)
        return self._ids(rendered, special_tokens=False)

    def finish(self, content: Content) -> Content:
        """Return a text with the end-of-sequence token after it; a chat's template has its own ends."""
        end: str = self.tokenizer.eos_token
        if isinstance(content, str) and not content.endswith(end):
            return content + end
        return content

    def _ids(self, texts: list[Any], *, special_tokens: bool) -> list[Ids]:
        encoded = self.tokenizer(texts, add_special_tokens=special_tokens, return_attention_mask=False, verbose=False)
        ids: list[Ids] = encoded["input_ids"]
        return ids


def encode_texts(rows: Iterable[Row], encoder: Encoder, counts: Counts) -> Iterator[Ids]:
    """Yield the token ids of rows of plain text, each with the end-of-sequence token, in full length."""
    for batch in _batches(rows):
        for ids in encoder.encode([encoder.finish(row["text"]) for row in batch]):
            counts.rows += 1
            counts.used += 1
            counts.tokens += len(ids)
            yield ids


def encode_sequences(
    rows: Iterable[Row], encoder: Encoder, counts: Counts, *, completion_only: bool
) -> Iterator[tuple[Ids, Ids]]:
    """Yield input ids and labels of rows of text, messages, or prompt and completion.

    Args:
        rows: The rows, all of one shape.
        encoder: What makes token ids.
        counts: Counts what becomes of the rows.
        completion_only: Whether only a completion's tokens carry loss; for rows that have one.
    """
    for batch in _batches(rows):
        for ids, prompt_length in _sequences(batch, encoder):
            masked = prompt_length if completion_only else 0
            counts.rows += 1
            if masked >= min(len(ids), encoder.max_length):
                counts.dropped += 1
                continue
            counts.truncated += len(ids) > encoder.max_length
            counts.used += 1
            cut = ids[: encoder.max_length]
            counts.tokens += len(cut)
            yield cut, [IGNORED] * masked + cut[masked:]


def encode_preferences(rows: Iterable[Row], encoder: Encoder, counts: Counts) -> Iterator[tuple[Ids, Ids, Ids]]:
    """Yield the ids of prompt, chosen and rejected answer; the answers are cut where the sequence gets too long."""
    for batch in _batches(rows):
        prompts = encoder.encode([row["prompt"] for row in batch], generation_prompt=True)
        answers = [
            encoder.encode([row["prompt"] + encoder.finish(row[part]) for row in batch])
            for part in ("chosen", "rejected")
        ]
        for prompt, chosen, rejected in zip(prompts, *answers, strict=True):
            counts.rows += 1
            start = min(common_prefix(prompt, chosen), common_prefix(prompt, rejected))
            room = encoder.max_length - start
            if room <= 0:
                counts.dropped += 1
                continue
            parts = chosen[start:], rejected[start:]
            counts.truncated += max(map(len, parts)) > room
            counts.used += 1
            counts.tokens += 2 * start + sum(min(len(part), room) for part in parts)
            yield prompt[:start], parts[0][:room], parts[1][:room]


def require_rows(counts: Counts, max_length: int, what: str) -> None:
    """Refuse data of which nothing is left.

    Raises:
        DataError: No row can be used.
    """
    if counts.used == 0:
        raise DataError(
            f"none of the {counts.rows} rows to {what} has a token to learn within training.maxLength of {max_length}:"
            " the prompts alone are that long; raise training.maxLength or shorten the prompts"
        )


def common_prefix(one: Ids, other: Ids) -> int:
    """Return how many leading ids two sequences share; tokens may merge across the border of prompt and completion."""
    return next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def _sequences(batch: list[Row], encoder: Encoder) -> Iterator[tuple[Ids, int]]:
    """Yield full sequences and the length of their prompts, 0 without one."""
    if "prompt" not in batch[0]:
        part = "messages" if is_chat(batch[0]) else "text"
        return zip(encoder.encode([encoder.finish(row[part]) for row in batch]), itertools.repeat(0), strict=False)
    prompts = encoder.encode([row["prompt"] for row in batch], generation_prompt=True)
    wholes = encoder.encode([row["prompt"] + encoder.finish(row["completion"]) for row in batch])
    return ((whole, common_prefix(prompt, whole)) for prompt, whole in zip(prompts, wholes, strict=True))


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, _BATCH_ROWS)):
        yield batch
