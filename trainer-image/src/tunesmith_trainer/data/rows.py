"""Raw rows made into rows of TRL's shapes, whose texts and chats are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.layout import missing_column
from tunesmith_trainer.data.messages import Message, read_answer, read_messages, read_text, system_message
from tunesmith_trainer.data.verdicts import read_label, read_margin

if TYPE_CHECKING:
    from tunesmith_trainer.data.layout import Layout
    from tunesmith_trainer.data.raw import RawRow

Content = str | list[Message]
Row = dict[str, Any]
"""`text`, `messages`, `prompt` + `completion`, or `prompt` + `chosen` + `rejected`; each a text or messages.

A completion may have a `label`, which is true of good ones, and a pair a `margin`.
Or `prompt` alone, with the other columns of its row in `columns`.
"""
REWARD_ARGUMENTS = frozenset({"prompts", "completions", "completion_ids", "log_metric"})
"""What rewards get beside the columns of a row; a column of such a name is none for them."""


def make_row(raw: RawRow, layout: Layout) -> Row:
    """Return a raw row in TRL's shape.

    Raises:
        DataError: A column is missing, empty or of another type.
    """
    for column in layout.columns.values():
        if column not in raw.values:
            raise missing_column(raw, (column,), "every row needs the columns of the first: correct or remove the row")
    return _MAKERS[layout.format](raw, layout)


def is_chat(row: Row) -> bool:
    """Whether a row holds messages, which the chat template makes text of."""
    return any(isinstance(value, list) for value in row.values())


def _text(raw: RawRow, layout: Layout) -> Row:
    return {"text": read_text(raw, layout.columns["text"])}


def _messages(raw: RawRow, layout: Layout) -> Row:
    messages = read_messages(raw, layout.columns["messages"])
    if all(message["role"] != "assistant" for message in messages):
        raise raw.error(
            f"column {layout.columns['messages']!r} has no answer of the assistant", "add one or remove the row"
        )
    return {"messages": messages}


def _prompt_completion(raw: RawRow, layout: Layout) -> Row:
    if layout.makers is not None:
        question, answer = (maker.render(raw) for maker in layout.makers)
        if not answer.strip():
            raise raw.error("the completion that is built of it is empty", "fill its columns or remove the row")
        return {"prompt": question, "completion": answer}
    prompt_column, completion_column = layout.columns["prompt"], layout.columns["completion"]
    prompt = _prompt(raw, prompt_column)
    return {"prompt": prompt, "completion": _completion(raw, prompt, prompt_column, completion_column)}


def _instruction(raw: RawRow, layout: Layout) -> Row:
    question = read_text(raw, layout.columns["instruction"])
    if "input" in layout.columns and raw.values[layout.columns["input"]] is not None:
        more = read_text(raw, layout.columns["input"], may_be_empty=True)
        question = f"{question}\n\n{more}" if more.strip() else question
    answer = read_text(raw, layout.columns["output"])
    return {"prompt": [*system_message(raw), _says("user", question)], "completion": [_says("assistant", answer)]}


def _preference(raw: RawRow, layout: Layout) -> Row:
    pair = _pair(raw, layout)
    return pair | {"margin": read_margin(raw, layout.columns["margin"])} if "margin" in layout.columns else pair


def _pair(raw: RawRow, layout: Layout) -> Row:
    chosen_column, rejected_column = layout.columns["chosen"], layout.columns["rejected"]
    if "prompt" not in layout.columns:
        return _shared_prompt(raw, chosen_column, rejected_column)
    column = layout.columns["prompt"]
    prompt: Content = _prompt(raw, column)
    chosen, rejected = read_answer(raw, chosen_column), read_answer(raw, rejected_column)
    if isinstance(prompt, str) and isinstance(chosen, list) and isinstance(rejected, list):
        prompt = [_says("user", prompt)]
    return {
        "prompt": prompt,
        "chosen": _without_prompt(raw, prompt, _as_prompt(prompt, chosen), chosen_column),
        "rejected": _without_prompt(raw, prompt, _as_prompt(prompt, rejected), rejected_column),
    }


def _shared_prompt(raw: RawRow, chosen_column: str, rejected_column: str) -> Row:
    """Split two whole chats into the messages they share and the answers they differ in."""
    chosen, rejected = read_answer(raw, chosen_column), read_answer(raw, rejected_column)
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise raw.error(
            f"there is no prompt, and {chosen_column!r} and {rejected_column!r} are no chats that begin with it",
            "add a prompt column",
        )
    shared = next(
        (place for place, pair in enumerate(zip(chosen, rejected, strict=False)) if pair[0] != pair[1]),
        min(len(chosen), len(rejected)),
    )
    if chosen == rejected:
        shared = len(chosen) - 1  # what is wrong with it is told elsewhere
    if not shared or shared in {len(chosen), len(rejected)}:
        raise raw.error(
            f"the chats in {chosen_column!r} and {rejected_column!r} must begin alike and end in different answers",
            "correct the row or add a prompt column",
        )
    return {"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}


def _unpaired_preference(raw: RawRow, layout: Layout) -> Row:
    label, column = read_label(raw, layout.columns["label"]), layout.columns["prompt"]
    prompt = _prompt(raw, column)
    if "completion" in layout.columns:
        completion = _completion(raw, prompt, column, layout.columns["completion"])
        return {"prompt": prompt, "completion": completion, "label": label}
    if isinstance(prompt, str):
        raise raw.error(
            f"there is no completion, and column {column!r} is no chat that ends with it", "add a completion column"
        )
    if len(prompt) < 2 or prompt[-1]["role"] != "assistant":  # noqa: PLR2004 - a question and its answer
        raise raw.error(f"column {column!r} does not end with an answer of the assistant", "correct or remove the row")
    return {"prompt": prompt[:-1], "completion": prompt[-1:], "label": label}


def _prompt_alone(raw: RawRow, layout: Layout) -> Row:
    taken = REWARD_ARGUMENTS.union(layout.columns.values())
    columns = {name: value for name, value in raw.values.items() if name not in taken}
    if layout.makers is not None:
        (maker,) = layout.makers
        text = maker.render(raw)
        if not text.strip():
            raise raw.error("the prompt that is built of it is empty", "fill its columns or remove the row")
        return {"prompt": text, "columns": columns}
    column = layout.columns["prompt"]
    prompt = _prompt(raw, column)
    if isinstance(prompt, list) and prompt[-1]["role"] != "user":
        raise raw.error(
            f"column {column!r} does not end with a message of the user, which the model would answer",
            "leave out what comes after it",
        )
    return {"prompt": prompt, "columns": columns}


def _prompt(raw: RawRow, column: str) -> Content:
    if isinstance(raw.values[column], str):
        return read_text(raw, column)
    return read_messages(raw, column)


def _completion(raw: RawRow, prompt: Content, prompt_column: str, column: str) -> Content:
    answer = _as_prompt(prompt, read_answer(raw, column))
    if isinstance(prompt, str) and isinstance(answer, list):
        raise raw.error(
            f"column {column!r} is a chat and column {prompt_column!r} is text", "make both text or both messages"
        )
    return _ends_with_answer(raw, answer, column)


def _as_prompt(prompt: Content, answer: Content) -> Content:
    """Return a plain answer to a chat as the assistant's message."""
    if isinstance(prompt, list) and isinstance(answer, str):
        return [_says("assistant", answer)]
    return answer


def _without_prompt(raw: RawRow, prompt: Content, answer: Content, column: str) -> Content:
    """Drop the prompt that some data sets repeat at the start of each answer's chat."""
    if isinstance(prompt, list) and isinstance(answer, list) and answer[: len(prompt)] == prompt:
        answer = answer[len(prompt) :]
        if not answer:
            raise raw.error(f"column {column!r} holds nothing but the prompt", "add the answer or remove the row")
    if isinstance(prompt, str) and isinstance(answer, list):
        raise raw.error(f"column {column!r} is a chat and the other answer is text", "make both text or both messages")
    return _ends_with_answer(raw, answer, column)


def _ends_with_answer(raw: RawRow, answer: Content, column: str) -> Content:
    if isinstance(answer, list) and any(message["role"] != "assistant" for message in answer[-1:]):
        raise raw.error(f"column {column!r} does not end with a message of the assistant", "correct the row")
    return answer


def _says(role: str, content: str) -> Message:
    return {"role": role, "content": content}


_MAKERS = {
    "text": _text,
    "messages": _messages,
    "prompt-completion": _prompt_completion,
    "instruction": _instruction,
    "preference": _preference,
    "unpaired-preference": _unpaired_preference,
    "prompt": _prompt_alone,
}
