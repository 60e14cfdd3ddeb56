"""Prompts alone: found, built of columns, measured, and laid out with the columns that rewards get."""

from typing import Any

import pytest

from tunesmith_trainer.data.prompts import by_name
from tunesmith_trainer.errors import DataError, InvalidSpec

USER = {"role": "user", "content": "Hi?"}
ANSWER = {"role": "assistant", "content": "Hello."}
MATHS: list[dict[str, Any]] = [
    {"question": "1+1?", "answer": "2", "level": 3},
    {"question": "2+2?", "answer": "4", "level": None},
]


def rows(corpora: Any) -> Any:
    return list(corpora.train)


def test_other_columns_are_kept(folder: Any, open_rows: Any) -> None:
    asked = [{"prompt": row["question"], "answer": row["answer"], "level": row["level"]} for row in MATHS]
    corpora = open_rows(folder.put("a.jsonl", asked), accepted=("prompt",))
    assert rows(corpora) == [
        {"prompt": "1+1?", "columns": {"answer": "2", "level": 3}},
        {"prompt": "2+2?", "columns": {"answer": "4", "level": None}},
    ]
    (found,) = corpora.report["sources"]
    assert (found["format"], found["unusedColumns"]) == ("prompt", [])


def test_a_column_of_another_name(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", MATHS) | {"columns": {"prompt": "question"}}
    assert rows(open_rows(dataset, accepted=("prompt",)))[0] == {
        "prompt": "1+1?",
        "columns": {"answer": "2", "level": 3},
    }


def test_a_template_of_the_prompt_alone(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", MATHS) | {"promptTemplate": "Q: {question}\nA:"}
    assert rows(open_rows(dataset, accepted=("prompt",)))[0] == {"prompt": "Q: 1+1?\nA:", "columns": MATHS[0]}


def test_chats(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"prompt": [USER], "answer": "Hello.", "prompts": "not ours"}])
    corpora = open_rows(dataset, accepted=("prompt",))
    assert rows(corpora) == [{"prompt": [USER], "columns": {"answer": "Hello."}}]
    assert corpora.chat


def test_rows_that_are_more_than_a_prompt_stay_what_they_are(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"prompt": "1+1=", "completion": "2"}])
    assert rows(open_rows(dataset, accepted=("prompt", "prompt-completion")))[0]["completion"] == "2"
    assert rows(open_rows(dataset, accepted=("prompt",)))[0]["columns"] == {"completion": "2"}


@pytest.mark.parametrize(
    ("row", "more", "told"),
    [
        ({"prompt": "1+1="}, {"accepted": ("text",)}, "are those of prompt rows, and the method trains on text"),
        ({"prompt": "1", "completion": "2"}, {"accepted": ("text",)}, "those of prompt-completion rows, and"),
        ({"prompt": [USER, ANSWER]}, {}, "line 1: column 'prompt' does not end with a message of the user"),
        ({"prompt": ""}, {}, "line 1: column 'prompt' is empty"),
        ({"question": "1+1="}, {}, "Looked for: prompt \\(prompt\\)"),
    ],
)
def test_rows_that_are_no_prompts(folder: Any, open_rows: Any, row: Any, more: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        open_rows(folder.put("a.jsonl", [row]), **{"accepted": ("prompt",)} | more)


def test_a_prompt_that_is_built_of_nothing(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"question": " "}]) | {"promptTemplate": "{question}"}
    with pytest.raises(DataError, match="line 1: the prompt that is built of it is empty"):
        open_rows(dataset, accepted=("prompt",))


def test_templates_that_make_another_format(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", MATHS) | {"promptTemplate": "{question}", "completionTemplate": "{answer}"}
    with pytest.raises(InvalidSpec, match="the method does not train on prompt-completion rows"):
        open_rows(dataset, accepted=("prompt",))


def test_columns_of_several_rows_become_lists_under_their_names() -> None:
    assert by_name(['{"answer": "2", "level": 3}', '{"answer": "4", "hint": [1, {"a": null}]}']) == {
        "answer": ["2", "4"],
        "level": [3, None],
        "hint": [None, [1, {"a": None}]],
    }
