"""Labels and margins: which values are read, which are refused with row and remedy, and what the labels come to."""

from typing import Any

import pytest

from tunesmith_api.v1alpha1.methods.kto import Kto
from tunesmith_trainer.data.balance import weight_advice
from tunesmith_trainer.errors import DataError, InvalidSpec

USER = {"role": "user", "content": "Hi?"}
ANSWER = {"role": "assistant", "content": "Hello."}
LABELLED = ("unpaired-preference", "preference")


def rows(corpora: Any) -> Any:
    return list(corpora.train)


@pytest.mark.parametrize(("value", "label"), [(True, True), (False, False), (1, True), (0, False), (1.0, True)])
def test_labels(folder: Any, open_rows: Any, *, value: Any, label: bool) -> None:
    dataset = folder.put("a.jsonl", [{"prompt": "1+1=", "completion": "2", "label": value}])
    assert rows(open_rows(dataset, accepted=LABELLED)) == [{"prompt": "1+1=", "completion": "2", "label": label}]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("true", "a string, 'true'"),
        ("0", "a string, '0'"),
        (2, "a number, 2"),
        (-1, "a number, -1"),
        (0.5, "a number, 0.5"),
        (None, "null"),
        ([True], "an array"),
    ],
)
def test_what_is_no_label(folder: Any, open_rows: Any, *, value: Any, found: str) -> None:
    good = {"prompt": "1+1=", "completion": "2", "label": True}
    dataset = folder.put("a.jsonl", [good, good | {"label": value}])
    with pytest.raises(DataError) as caught:
        rows(open_rows(dataset, accepted=LABELLED))
    assert str(caught.value) == (
        f"file a.jsonl of claim data, line 2: column 'label' is {found}, and no label; write true (good) or false (bad)"
        " without quotes, or 1 or 0; a CSV file has text alone: use JSON lines"
    )


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_a_labelled_chat_ends_with_the_answer(folder: Any, open_rows: Any, column: str) -> None:
    chat: Any = [USER, ANSWER, USER, ANSWER]
    if column == "conversations":
        chat = [{"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in chat]
    corpora = open_rows(folder.put("a.json", [{column: chat, "label": False}]), accepted=LABELLED)
    assert rows(corpora) == [{"prompt": [USER, ANSWER, USER], "completion": [ANSWER], "label": False}]
    assert corpora.report["sources"][0]["format"] == "unpaired-preference"


def test_columns_of_other_names(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"dialogue": [USER, ANSWER], "thumbs_up": 1}])
    columns = {"messages": "dialogue", "label": "thumbs_up"}
    assert rows(open_rows(dataset | {"columns": columns}, accepted=LABELLED))[0]["label"] is True


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "Hi?", "label": True}, "there is no completion, and column 'prompt' is no chat that ends with it"),
        ({"messages": [USER], "label": True}, "column 'messages' does not end with an answer of the assistant"),
        ({"messages": [ANSWER], "label": True}, "column 'messages' does not end with an answer of the assistant"),
        ({"prompt": "Hi?", "completion": " ", "label": True}, "column 'completion' is empty"),
    ],
)
def test_what_is_no_labelled_row(folder: Any, open_rows: Any, row: Any, problem: str) -> None:
    with pytest.raises(DataError, match=f"line 1: {problem}; "):
        open_rows(folder.put("a.jsonl", [row]), accepted=LABELLED)


def test_a_labelled_chat_is_a_chat_where_labels_are_not_asked_for(folder: Any, open_rows: Any) -> None:
    corpora = open_rows(folder.put("a.jsonl", [{"messages": [USER, ANSWER], "label": True}]), accepted=("messages",))
    assert rows(corpora) == [{"messages": [USER, ANSWER]}]
    assert corpora.report["sources"][0]["unusedColumns"] == ["label"]


PAIR = {"prompt": "1+1=", "chosen": "2", "rejected": "3"}


def test_a_margin_is_read_where_its_column_is_named(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [PAIR | {"margin": 2}, PAIR | {"margin": 0.5}])
    named = open_rows(dataset | {"columns": {"margin": "margin"}}, accepted=("preference",))
    assert [row["margin"] for row in rows(named)] == [2.0, 0.5]
    unnamed = open_rows(dataset, accepted=("preference",))
    assert rows(unnamed) == [PAIR, PAIR]
    assert unnamed.report["sources"][0]["unusedColumns"] == ["margin"]


@pytest.mark.parametrize(("value", "found"), [("2", "a string"), (True, "a boolean"), (None, "null")])
def test_what_is_no_margin(folder: Any, open_rows: Any, *, value: Any, found: str) -> None:
    dataset = folder.put("a.jsonl", [PAIR | {"margin": value}]) | {"columns": {"margin": "margin"}}
    with pytest.raises(DataError, match=f"column 'margin' is {found}, and no margin; make it a number"):
        open_rows(dataset, accepted=("preference",))


@pytest.mark.parametrize("value", ["1" + "0" * 400, "-1e39", "1e999", "NaN"])
def test_a_margin_that_no_float_holds(folder: Any, open_rows: Any, value: str) -> None:
    line = f'{{"prompt": "1+1=", "chosen": "2", "rejected": "3", "margin": {value}}}'
    dataset = folder.put("a.jsonl", line) | {"columns": {"margin": "margin"}}
    with pytest.raises(DataError, match=r"line 1: column 'margin' is .*, which is no finite 32-bit number; correct"):
        open_rows(dataset, accepted=("preference",))


def test_margins_belong_to_preferences(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"text": "One", "margin": 1}])
    with pytest.raises(InvalidSpec, match=r"columns\.margin is not used: format text takes text"):
        open_rows(dataset | {"format": "text", "columns": {"margin": "margin"}})


@pytest.mark.parametrize(
    ("good", "bad", "weights", "advice"),
    [
        (10, 10, {}, None),
        (13, 10, {}, None),
        (30, 10, {}, "desirableWeight between 0.333 and 0.444, or kto.undesirableWeight between 2.25 and 3, not both"),
        (10, 30, {}, "desirableWeight between 3 and 4, or kto.undesirableWeight between 0.25 and 0.333, not both"),
        (30, 10, {"desirable_weight": 0.333}, None),
        (30, 10, {"undesirable_weight": 3}, None),
        (30, 10, {"desirable_weight": 0.333, "undesirable_weight": 3}, "desirableWeight between 1 and 1.33"),
        (5, 0, {}, "all 5 rows are labelled good, which pushes the model one way only: add bad ones"),
        (0, 5, {}, "all 5 rows are labelled bad, which pushes the model one way only: add good ones"),
    ],
)
def test_weights_make_up_for_more_of_one_label(
    good: int, bad: int, weights: dict[str, Any], advice: str | None
) -> None:
    """Within the bounds of the paper's equation 8; what is advised satisfies when it is set."""
    told = weight_advice({"desirable": good, "undesirable": bad}, Kto(**weights))
    assert told is None if advice is None else advice in str(told)
