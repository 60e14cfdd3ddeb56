"""Rows made into token ids and labels, truncated and counted, as TRL's own preparation would make them.

TRL does this row by row in half a dozen passes over temporary files and drops what it cuts away without a word. Here it
is one pass in batches that counts; a test holds the two against each other.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tunesmith_trainer.data.rows import Content, Row
from tunesmith_trainer.errors import DataError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.data.corpus import Source
    from tunesmith_trainer.data.counts import Counts

DESIRABLE, UNDESIRABLE = "desirable", "undesirable"  # what TRL calls answers that are labelled true and false
IGNORED = -100  # the label of a token that carries no loss, in torch and transformers
_BATCH_ROWS = 512
_OTHER_CHAT = "change or remove the row, or set another template in spec.model.chatTemplate"

Ids = list[int]
Asked = tuple[Content, Ids, str]
"""A prompt, its token ids, and the other columns of its row as JSON."""
Drawn = Iterable[tuple["Source", Row]]
"""Rows, each with the dataset it is from."""
_Encoded = TypeVar("_Encoded")


class ChatRefused(DataError):  # noqa: N818 - named as the errors of a run are
    """The chat template does not take one of the chats it was given."""


@dataclass(frozen=True)
class LossMask:
    """Which tokens of a row carry loss; by default all.

    Attributes:
        completion_only: Only those of the completion.
        assistant_only: Only what the assistant says.
    """

    completion_only: bool = False
    assistant_only: bool = False


@dataclass(frozen=True)
class Encoder:
    """Makes token ids of texts and chats.

    Attributes:
        tokenizer: The model's tokenizer; chats need its chat template.
        max_length: Longest sequence, in tokens.
        truncation_side: Where a longer one is cut.
        spoken_template: The chat template that marks what the assistant says, where it is not the tokenizer's own.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    truncation_side: Literal["right", "left"] = "right"
    spoken_template: str | None = None

    def encode(self, contents: list[Content], *, generation_prompt: bool = False) -> list[Ids]:
        """Return the token ids of texts, or of chats.

        Args:
            contents: All texts or all chats.
            generation_prompt: Whether a chat ends with the beginning of the assistant's next message.

        Raises:
            ChatRefused: The template does not take one of the chats.
        """
        if not isinstance(contents[0], list):
            return self._ids(contents, special_tokens=True)
        rendered = self._rendered(contents, tokenize=False, add_generation_prompt=generation_prompt)
        return self._ids(rendered, special_tokens=False)

    def encode_spoken(self, chats: list[Content]) -> list[tuple[Ids, Ids]]:
        """Return the token ids of chats, and as labels those of them that the assistant says.

        Raises:
            ChatRefused: The template does not take one of the chats.
        """
        encoded = self._rendered(
            chats,
            chat_template=self.spoken_template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        return [
            (ids, [token if said else IGNORED for token, said in zip(ids, mask, strict=True)])
            for ids, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
        ]

    def _rendered(self, chats: list[Content], **how: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(chats, **how)
        # A template may raise whatever it likes.
        except Exception as error:
            raise ChatRefused(f"the model's chat template does not take a chat: {first_line(error)}") from error

    def finish(self, content: Content) -> Content:
        """Return a text with the end-of-sequence token after it; a chat's template has its own ends."""
        end: str = self.tokenizer.eos_token
        if isinstance(content, str) and not content.endswith(end):
            return content + end
        return content

    def cut(self, ids: Ids) -> Ids:
        """Return what is left of a sequence within `max_length`."""
        return ids[: self.max_length] if self.truncation_side == "right" else ids[-self.max_length :]

    def _ids(self, texts: list[Any], *, special_tokens: bool) -> list[Ids]:
        encoded = self.tokenizer(texts, add_special_tokens=special_tokens, return_attention_mask=False, verbose=False)
        ids: list[Ids] = encoded["input_ids"]
        return ids


def encode_texts(drawn: Drawn, encoder: Encoder, counts: Counts, *, whole: bool) -> Iterator[tuple[Ids]]:
    """Yield the token ids of rows of plain text, each with the end-of-sequence token.

    Args:
        drawn: The rows.
        encoder: What makes token ids.
        counts: Counts what becomes of the rows.
        whole: Whether they stay whole, for who cuts them later.
    """
    encode = lambda _, rows: encoder.encode([encoder.finish(row["text"]) for row in rows])  # noqa: E731
    for source, ids in _in_batches(drawn, encode):
        counts.read(ids)
        cut = ids if whole else encoder.cut(ids)
        counts.use(len(cut), len(cut) - 1, source=source.field, truncated=len(cut) < len(ids))
        yield (cut,)


def encode_sequences(
    drawn: Drawn, encoder: Encoder, counts: Counts, mask_of: Callable[[Source], LossMask]
) -> Iterator[tuple[Ids, Ids]]:
    """Yield input ids and labels of rows of text, messages, or prompt and completion.

    Args:
        drawn: The rows; those of one dataset have one shape.
        encoder: What makes token ids.
        counts: Counts what becomes of the rows.
        mask_of: Which tokens of a dataset's rows carry loss.
    """
    for source, (ids, labels) in _in_batches(drawn, lambda source, rows: _sequences(rows, encoder, mask_of(source))):
        counts.read(ids)
        cut, learnt = encoder.cut(ids), encoder.cut(labels)
        if max(learnt, default=IGNORED) == IGNORED:
            counts.dropped += 1
            continue
        loss_tokens = len(learnt) - learnt[1:].count(IGNORED) - 1  # nothing precedes the first, so that nothing says it
        counts.use(len(cut), loss_tokens, source=source.field, truncated=len(cut) < len(ids))
        yield cut, learnt


def encode_preferences(drawn: Drawn, encoder: Encoder, counts: Counts) -> Iterator[tuple[Ids, Ids, Ids]]:
    """Yield the ids of prompt, chosen and rejected answer; the answers are cut where the sequence gets too long."""
    for source, (prompt, chosen, rejected) in _in_batches(drawn, lambda _, rows: _preferences(rows, encoder)):
        counts.read(chosen, rejected)
        start = min(common_prefix(prompt, chosen), common_prefix(prompt, rejected))
        room = encoder.max_length - start
        if room <= 0:
            counts.dropped += 1
            continue
        parts = chosen[start:], rejected[start:]
        for kind, part in zip(("chosen", "rejected"), parts, strict=True):
            counts.answer(kind, len(part))
        counts.alike += parts[0][:room] == parts[1][:room]
        answers = sum(min(len(part), room) for part in parts)
        counts.use(2 * start + answers, answers, source=source.field, truncated=max(map(len, parts)) > room)
        yield prompt[:start], parts[0][:room], parts[1][:room]


def encode_comparisons(drawn: Drawn, encoder: Encoder, counts: Counts) -> Iterator[tuple[Ids, Ids, float]]:
    """Yield the ids of both whole sequences of each pair, the better one first, and the margin.

    Pairs with a longer sequence are left out, as TRL does: what is scored is its last token, and an answer that is cut
    is another answer.

    Raises:
        DataError: No pair is left.
    """
    for source, (chosen, rejected, margin) in _in_batches(drawn, lambda _, rows: _comparisons(rows, encoder)):
        counts.read(chosen, rejected)
        if max(len(chosen), len(rejected)) > encoder.max_length:
            counts.dropped += 1
            continue
        shared = common_prefix(chosen, rejected)  # the prompt
        counts.answer("chosen", len(chosen) - shared)
        counts.answer("rejected", len(rejected) - shared)
        counts.alike += chosen == rejected
        tokens = len(chosen) + len(rejected)
        counts.use(tokens, tokens, source=source.field)
        yield chosen, rejected, margin
    if not counts.used:
        raise DataError(
            f"none of the {counts.rows} pairs has both sequences within training.maxLength of {encoder.max_length}:"
            " raise it, or shorten the answers"
        )


def encode_labelled(drawn: Drawn, encoder: Encoder, counts: Counts) -> Iterator[tuple[Ids, Ids, bool]]:
    """Yield the ids of prompt and completion and the label; completions are cut where the sequence gets too long.

    Args:
        drawn: Labelled rows, or preferences, which become two of these each.
        encoder: What makes token ids.
        counts: Counts what becomes of the labelled rows.
    """
    for source, (prompt, whole, label) in _in_batches(_unpaired(drawn), lambda _, rows: _labelled(rows, encoder)):
        counts.read(whole)
        start = common_prefix(prompt, whole)
        cut = whole[start : encoder.max_length]
        if not cut:
            counts.dropped += 1
            continue
        counts.use(start + len(cut), len(cut), source=source.field, truncated=len(whole) > encoder.max_length)
        counts.answer(DESIRABLE if label else UNDESIRABLE, len(whole) - start)
        yield prompt[:start], cut, label


def encode_prompts(drawn: Drawn, encoder: Encoder, counts: Counts, room: int) -> Iterator[Asked]:
    """Yield the prompts that leave room for a completion, and count the others.

    Args:
        drawn: The rows.
        encoder: What makes token ids.
        counts: Counts what becomes of the rows.
        room: Tokens of a sequence that are kept free for the completion.

    Raises:
        DataError: No prompt leaves it.
    """
    longest = encoder.max_length - room
    for source, (row, ids) in _in_batches(drawn, lambda _, rows: zip(rows, _prompt_ids(rows, encoder), strict=True)):
        counts.read(ids)
        if len(ids) > longest:
            counts.dropped += 1
            continue
        counts.use(len(ids), 0, source=source.field)
        yield row["prompt"], ids, json.dumps(row["columns"], default=str)
    if not counts.used:
        raise DataError(
            f"none of the {counts.rows} prompts has at most {longest} tokens, which is what maxCompletionLength of"
            f" {room} leaves of training.maxLength of {encoder.max_length}: raise maxLength, or shorten the prompts"
        )


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


def _sequences(rows: list[Row], encoder: Encoder, mask: LossMask) -> Iterator[tuple[Ids, Ids]]:
    """Yield full sequences and their labels."""
    wholes = [encoder.finish(_whole(row)) for row in rows]
    encoded = encoder.encode_spoken(wholes) if mask.assistant_only else [(ids, ids) for ids in encoder.encode(wholes)]
    if not mask.completion_only:
        yield from encoded
        return
    for prompt, (ids, labels) in zip(_prompt_ids(rows, encoder), encoded, strict=True):
        start = common_prefix(prompt, ids)
        yield ids, [IGNORED] * start + labels[start:]


def _prompt_ids(rows: list[Row], encoder: Encoder) -> list[Ids]:
    return encoder.encode([row["prompt"] for row in rows], generation_prompt=True)


def _whole(row: Row) -> Content:
    """Return all of a row as one text or one chat."""
    if "prompt" in row:
        whole: Content = row["prompt"] + row["completion"]
        return whole
    (content,) = row.values()
    return content  # type: ignore[no-any-return]  # a row's values are contents


def _preferences(rows: list[Row], encoder: Encoder) -> Iterator[tuple[Ids, Ids, Ids]]:
    answers = (_answered(rows, part, encoder) for part in ("chosen", "rejected"))
    return zip(_prompt_ids(rows, encoder), *answers, strict=True)


def _comparisons(rows: list[Row], encoder: Encoder) -> Iterator[tuple[Ids, Ids, float]]:
    answers = (_answered(rows, part, encoder) for part in ("chosen", "rejected"))
    return zip(*answers, (row.get("margin", 0.0) for row in rows), strict=True)


def _labelled(rows: list[Row], encoder: Encoder) -> Iterator[tuple[Ids, Ids, bool]]:
    labels = (row["label"] for row in rows)
    return zip(_prompt_ids(rows, encoder), _answered(rows, "completion", encoder), labels, strict=True)


def _unpaired(drawn: Drawn) -> Drawn:
    """Yield labelled rows; of a preference the chosen answer is a good one and the rejected one a bad one."""
    for source, row in drawn:
        if "label" in row:
            yield source, row
            continue
        for part, label in (("chosen", True), ("rejected", False)):
            yield source, {"prompt": row["prompt"], "completion": row[part], "label": label}


def _answered(rows: list[Row], part: str, encoder: Encoder) -> list[Ids]:
    """Return the ids of prompts with one of their answers."""
    return encoder.encode([row["prompt"] + encoder.finish(row[part]) for row in rows])


def _in_batches(
    drawn: Drawn, encode: Callable[[Source, list[Row]], Iterable[_Encoded]]
) -> Iterator[tuple[Source, _Encoded]]:
    """Encode rows many at a time, those of one dataset together, and yield them in the order they came in."""
    iterator = iter(drawn)
    while batch := list(itertools.islice(iterator, _BATCH_ROWS)):
        places: dict[str, list[int]] = {}
        for place, (source, _) in enumerate(batch):
            places.setdefault(source.field, []).append(place)
        encoded: dict[int, _Encoded] = {}
        for own in places.values():
            source, rows = batch[own[0]][0], [batch[place][1] for place in own]
            try:
                encoded.update(zip(own, encode(source, rows), strict=True))
            except ChatRefused as error:
                raise _refusal(source, rows, encode, error) from error
        yield from ((source, encoded[place]) for place, (source, _) in enumerate(batch))


def _refusal(
    source: Source, rows: list[Row], encode: Callable[[Source, list[Row]], Iterable[_Encoded]], found: ChatRefused
) -> DataError:
    """Return the error that names the first row with a chat that the template does not take."""
    for row in rows:
        try:
            list(encode(source, [row]))
        except ChatRefused as error:
            raw = source.find(row)
            if raw is not None:
                return raw.error(str(error), _OTHER_CHAT)
    return DataError(f"{source.field}: {found}; {_OTHER_CHAT}")
