"""Every format of rows, as it is found in public data sets, becomes rows of TRL's shapes."""

from typing import Any

import pytest

USER = {"role": "user", "content": "Hi?"}
ANSWER = {"role": "assistant", "content": "Hello."}
OTHER = {"role": "assistant", "content": "Go away."}


def rows(corpora: Any) -> Any:
    return list(corpora.train)


def test_paragraphs_of_a_text_file_are_rows(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.txt", "\ufeffOne\nline two\n\n \nTwo\r\n\r\n\n")
    assert rows(open_rows(dataset)) == [{"text": "One\nline two"}, {"text": "Two"}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_of_text(folder: Any, open_rows: Any, name: Any) -> None:
    assert rows(open_rows(folder.put(name, [{"text": "One"}, {"text": "Two"}]))) == [{"text": "One"}, {"text": "Two"}]


def test_openai_messages(folder: Any, open_rows: Any) -> None:
    system = {"role": "system", "content": "Be kind."}
    corpora = open_rows(folder.put("a.jsonl", [{"messages": [system, USER, ANSWER]}]))
    assert rows(corpora) == [{"messages": [system, USER, ANSWER]}]
    assert corpora.chat


def test_sharegpt_conversations(folder: Any, open_rows: Any) -> None:
    chat = [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]
    dataset = folder.put("a.json", [{"conversations": chat, "system": "Be kind."}, {"conversations": chat}])
    assert rows(open_rows(dataset)) == [
        {"messages": [{"role": "system", "content": "Be kind."}, USER, ANSWER]},
        {"messages": [USER, ANSWER]},
    ]


def test_plain_prompt_and_completion(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"prompt": "1+1=", "completion": "2", "id": 7}])
    corpora = open_rows(dataset)
    assert rows(corpora) == [{"prompt": "1+1=", "completion": "2"}]
    assert corpora.report["sources"][0]["unusedColumns"] == ["id"]
    assert not corpora.chat


def test_prompt_and_completion_of_messages(folder: Any, open_rows: Any) -> None:
    dataset = folder.put(
        "a.jsonl", [{"prompt": [USER], "completion": [ANSWER]}, {"prompt": [USER], "completion": "Hello."}]
    )
    assert rows(open_rows(dataset)) == [{"prompt": [USER], "completion": [ANSWER]}] * 2


def test_alpaca_instructions(folder: Any, open_rows: Any) -> None:
    dataset = folder.put(
        "a.json",
        [
            {"instruction": "Add.", "input": "1 and 1", "output": "2"},
            {"instruction": "Greet.", "input": "", "output": "Hello."},
        ],
    )
    assert rows(open_rows(dataset)) == [
        {
            "prompt": [{"role": "user", "content": "Add.\n\n1 and 1"}],
            "completion": [{"role": "assistant", "content": "2"}],
        },
        {"prompt": [{"role": "user", "content": "Greet."}], "completion": [ANSWER]},
    ]


def test_alpaca_without_input_column(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.json", [{"instruction": "Greet.", "output": "Hello."}])
    assert rows(open_rows(dataset))[0]["completion"] == [ANSWER]


WANTED = {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"prompt": "1+1=", "chosen": "2", "rejected": "3"},
            {"prompt": "1+1=", "chosen": "2", "rejected": "3"},
        ),
        ({"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]}, WANTED),
        ({"prompt": [USER], "chosen": ANSWER, "rejected": OTHER}, WANTED),
        ({"prompt": [USER], "chosen": "Hello.", "rejected": "Go away."}, WANTED),
        ({"prompt": "Hi?", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, WANTED),
        ({"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, WANTED),
        (
            {
                "conversations": [{"from": "human", "value": "Hi?"}],
                "chosen": {"from": "gpt", "value": "Hello."},
                "rejected": {"from": "gpt", "value": "Go away."},
            },
            WANTED,
        ),
    ],
    ids=["text", "messages", "one message", "text answers", "prompt repeated", "prompt shared", "ShareGPT"],
)
def test_preferences(folder: Any, open_rows: Any, row: Any, expected: Any) -> None:
    corpora = open_rows(folder.put("a.jsonl", [row]))
    assert rows(corpora) == [expected]
    assert corpora.report["sources"][0]["format"] == "preference"


def test_columns_of_other_names(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"question": "1+1=", "answer": "2"}])
    named = dataset | {"columns": {"prompt": "question", "completion": "answer"}}
    assert rows(open_rows(named)) == [{"prompt": "1+1=", "completion": "2"}]
    assert rows(open_rows(dataset | {"columns": {"text": "answer"}})) == [{"text": "2"}]


def test_a_mapped_column_decides_the_format(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"prompt": "1+1=", "chosen": "2", "rejected": "3", "text": "x"}])
    dataset["columns"] = {"completion": "chosen"}
    assert rows(open_rows(dataset)) == [{"prompt": "1+1=", "completion": "2"}]


def test_detection_prefers_what_the_method_trains_on(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"prompt": "1+1=", "completion": "2", "text": "1+1=2"}])
    assert rows(open_rows(dataset, accepted=("text",))) == [{"text": "1+1=2"}]


def test_templates(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [{"q": "1+1", "a": 2, "steps": "{x}"}])
    dataset |= {"promptTemplate": "Q: {q}\nA:", "completionTemplate": " {{{a}}} {steps}"}
    corpora = open_rows(dataset)
    assert rows(corpora) == [{"prompt": "Q: 1+1\nA:", "completion": " {2} {x}"}]
    assert corpora.report["sources"][0]["columns"] == ["q", "a", "steps"]


def test_a_folder_is_read_in_the_order_of_names(folder: Any, open_rows: Any) -> None:
    folder.put("train/b.txt", "Two")
    folder.put("train/a.jsonl", [{"text": "One"}])
    folder.put("train/readme.md", "not data")
    assert rows(open_rows({"claim": {"name": "data", "path": "train"}})) == [{"text": "One"}, {"text": "Two"}]


def test_a_key_of_a_configmap(folder: Any, open_rows: Any) -> None:
    path = folder.configmap_path("small", "train.jsonl")
    path.parent.mkdir(parents=True)
    path.write_text('{"text": "One"}\n\n{"text": "Two"}', encoding="utf-8")
    assert len(rows(open_rows({"configMap": {"name": "small", "key": "train.jsonl"}}))) == 2


def test_several_datasets_follow_each_other_and_are_cut(folder: Any, open_rows: Any) -> None:
    one = folder.put("a.txt", "1\n\n2\n\n3") | {"maxSamples": 2}
    two = folder.put("b.jsonl", [{"text": "4"}, {"text": "5"}])
    assert [row["text"] for row in open_rows(one, two).train] == ["1", "2", "4", "5"]


def test_rows_can_be_read_again(folder: Any, open_rows: Any) -> None:
    corpora = open_rows(folder.put("a.txt", "1\n\n2"))
    assert rows(corpora) == rows(corpora)
