"""What is wrong with data is told with the file, the line or row, and what to do."""

import os
from typing import Any

import pytest

from tunesmith_trainer.errors import DataError, InvalidSpec

GOOD = {"prompt": "1+1=", "completion": "2"}
CHAT = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]


def read(corpora: Any) -> Any:
    return list(corpora.train)


def fail(open_rows: Any, dataset: Any, error: Any = DataError, **kwargs: Any) -> Any:
    with pytest.raises(error) as caught:
        read(open_rows(dataset, **kwargs))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x"}\n\n{"text": \n', "line 3: not valid JSON (Expecting value"),
        ("a.jsonl", '[{"text": "x"},\n', "rename a file that is one JSON array to .json"),
        ("a.jsonl", '{"text": "x"}\n["x"]\n', "line 2: an array, not an object"),
        ("a.json", '{"text": "x"}', "the top level is an object, not an array"),
        ("a.json", '{"text": "x"}\n{"text": "y"}', "rename a file with one object per line to .jsonl"),
        ("a.json", '[{"text": "x"}, 3]', "row 2: a number, not an object"),
        ("a.json", '[{"text": "x"}', "not valid JSON"),
        ("a.json", "", "has no row"),
        ("a.json", "[]", "has no row"),
        ("a.jsonl", "\n\n", "has no row"),
        ("a.jsonl", '{"text": "x"}\n{"text": "cut \\ud83d"}', "line 2: the escape \\ud83d is half of a character"),
        ("a.jsonl", '{"text": "x", "n\\uDE00": 1}', "line 1: the escape \\ude00 is half of a character"),
        ("a.json", '[{"text": "x"}, {"text": [{"cut": "\\ud83d"}]}]', "row 2: the escape \\ud83d is half of a"),
        ("a.jsonl", '{"text": "x"}\n{"text": ' + "[" * 100_000, "line 2: arrays or objects are nested too deeply"),
        ("a.json", "[" * 100_000 + "]" * 100_000, "arrays or objects are nested too deeply to be read; flatten them"),
        ("a.txt", " \n\n", "has no row"),
        ("a.txt", b"good\n\nbad \xff\n", "line 3: byte 5 of the line is not UTF-8"),
        ("a.pdf", "x", "rename it to one of .txt, .json, .jsonl"),
    ],
)
def test_a_broken_file(folder: Any, open_rows: Any, *, name: Any, content: Any, message: Any) -> None:
    text = fail(open_rows, folder.put(name, content))
    assert message in text
    assert text.startswith(f"file {name} of claim data")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_an_emoji_in_two_escapes_is_one_character(folder: Any, open_rows: Any, name: Any) -> None:
    row = '{"text": "\\ud83d\\ude00 \\\\ud83d"}'
    content = f"[{row}]" if name == "a.json" else row
    assert read(open_rows(folder.put(name, content))) == [{"text": "\U0001f600 \\ud83d"}]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"prompt": "x"}, "line 2: column 'completion' is missing (found: prompt)"),
        ({"prompt": "x", "completion": None}, "line 2: column 'completion' is null"),
        ({"prompt": "x", "completion": 3}, "line 2: column 'completion' is a number"),
        ({"prompt": "", "completion": "x"}, "line 2: column 'prompt' is empty"),
        ({"prompt": "x", "completion": " "}, "line 2: column 'completion' is empty"),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "holds messages and the first row of spec.datasets[0] text"),
        ({"prompt": "x", "completion": CHAT}, "is a chat and column 'prompt' is text"),
    ],
)
def test_a_broken_row(folder: Any, open_rows: Any, second: Any, message: Any) -> None:
    text = fail(open_rows, folder.put("a.jsonl", [GOOD, second]))
    assert message in text
    assert "; " in text, "a remedy follows"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("Hi?", "is a string, not an array of messages"),
        ([], "is empty"),
        (["Hi?"], "message 1 of column 'messages' is a string"),
        ([{"role": "user"}], "has neither role and content nor from and value (found: role)"),
        ([{"role": "tool", "content": "x"}], "has the role 'tool'"),
        (
            [{"role": "user", "content": [{"type": "image"}]}],
            "the content of message 1 of column 'messages' is an array",
        ),
        ([{"role": "user", "content": ""}], "the content of message 1 of column 'messages' is empty"),
        (CHAT[:1], "has no answer of the assistant"),
        ([*CHAT, {"role": "system", "content": "x"}], "message 3 of column 'messages' is a system message"),
    ],
)
def test_a_broken_chat(folder: Any, open_rows: Any, messages: Any, message: Any) -> None:
    assert message in fail(open_rows, folder.put("a.jsonl", [{"messages": CHAT}, {"messages": messages}]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x", "chosen": "y", "rejected": "y"}, "are equal, which prefers nothing"),
        ({"chosen": "y", "rejected": "z"}, "there is no prompt"),
        ({"chosen": CHAT, "rejected": CHAT}, "are equal, which prefers nothing"),
        ({"chosen": CHAT, "rejected": CHAT[:1]}, "must begin alike and end in different answers"),
        ({"prompt": "x", "chosen": CHAT[1:], "rejected": "z"}, "is a chat and the other answer is text"),
        ({"prompt": CHAT[:1], "chosen": CHAT[:1], "rejected": "z"}, "holds nothing but the prompt"),
    ],
)
def test_a_broken_preference(folder: Any, open_rows: Any, row: Any, message: Any) -> None:
    assert message in fail(open_rows, folder.put("a.jsonl", [row]))


def test_all_pairs_that_prefer_nothing_are_told_at_once(folder: Any, open_rows: Any) -> None:
    rows = [{"prompt": "x", "chosen": "y", "rejected": "y" if number % 2 else "z"} for number in range(20)]
    assert (
        "a.jsonl of claim data, line 2: columns 'chosen' and 'rejected' are equal, which prefers nothing, and so in 3"
        " more rows (line 4, line 6, line 8); remove the rows"
    ) in fail(open_rows, folder.put("a.jsonl", rows[:8]))
    many = fail(open_rows, folder.put("a.jsonl", rows))
    assert "in 9 more rows (line 4, line 6, line 8, line 10, …)" in many


def test_a_pair_that_prefers_nothing_is_told_of_a_dataset_that_is_not_read_to_its_end(
    folder: Any, open_rows: Any
) -> None:
    pairs = [{"prompt": "x", "chosen": "y", "rejected": "z"}] * 50
    few, many = folder.put("few.jsonl", pairs[:2]), folder.put("many.jsonl", [pairs[0] | {"chosen": "z"}, *pairs])
    corpora = open_rows(few | {"weight": 1}, many | {"weight": 1})
    with pytest.raises(DataError, match=r"many\.jsonl of claim data, line 1: .* are equal, which prefers nothing"):
        list(corpora.train)


def test_a_missing_file_and_key(folder: Any, open_rows: Any) -> None:
    assert "file x/y.jsonl of claim data does not exist" in fail(
        open_rows, {"claim": {"name": "data", "path": "x/y.jsonl"}}
    )
    assert "key a.txt of ConfigMap c does not exist" in fail(open_rows, {"configMap": {"name": "c", "key": "a.txt"}})


def test_a_path_that_no_file_can_have(folder: Any, open_rows: Any) -> None:
    name = folder.put("a.jsonl", [GOOD])["claim"]["path"] * 40
    told = fail(open_rows, {"claim": {"name": "data", "path": name}})
    assert f"file {name} of claim data has a longer name than a file can have; correct the dataset's path" in told


def test_a_folder_without_data(folder: Any, open_rows: Any) -> None:
    folder.put("train/readme.md", "x")
    assert "folder train of claim data holds no data file (.txt, .json, .jsonl" in fail(
        open_rows, {"claim": {"name": "data", "path": "train"}}
    )


def test_a_file_name_that_is_not_utf_8_can_be_written_down(folder: Any, open_rows: Any) -> None:
    folder.put("latin/a.jsonl", [GOOD, GOOD | {"prompt": 3}]).clear()
    path = folder.claim_path("data", "latin")
    (path / "a.jsonl").rename(path / os.fsdecode(b"caf\xe9.jsonl"))
    dataset = {"claim": {"name": "data", "path": "latin"}}
    assert fail(open_rows, dataset).startswith(r"file latin/caf\udce9.jsonl of claim data, line 2: ")
    assert r"(found: caf\udce9.jsonl)" in fail(open_rows, dataset | {"split": "test"})
    assert open_rows(dataset).report["sources"][0]["files"] == [r"file latin/caf\udce9.jsonl of claim data"]


def test_columns_of_no_format(folder: Any, open_rows: Any) -> None:
    text = fail(open_rows, folder.put("a.jsonl", [{"question": "x", "answer": "y"}]), accepted=("prompt-completion",))
    assert "its columns (question, answer) fit no format; name them in spec.datasets[0].columns" in text
    assert "Looked for: prompt + completion (prompt-completion)" in text


def test_rows_of_another_method(folder: Any, open_rows: Any) -> None:
    text = fail(open_rows, folder.put("a.jsonl", [GOOD]), accepted=("preference",))
    assert "those of prompt-completion rows, and the method trains on preference" in text
    text = fail(
        open_rows, folder.put("a.jsonl", [GOOD]) | {"format": "prompt-completion"}, InvalidSpec, accepted=("text",)
    )
    assert text.startswith("spec.datasets[0].format: the method does not train on prompt-completion rows")


def test_a_given_format_names_what_is_missing(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [GOOD]) | {"format": "text"}
    assert (
        "column 'text' is missing (found: prompt, completion); correct the file or name the column in"
        " spec.datasets[0].columns.text" in fail(open_rows, dataset)
    )
    assert "'messages' or 'conversations' is missing" in fail(open_rows, dataset | {"format": "messages"})


@pytest.mark.parametrize("format_", ["auto", "prompt-completion"])
def test_a_mapped_column_that_is_not_there(folder: Any, open_rows: Any, format_: Any) -> None:
    dataset = folder.put("a.jsonl", [GOOD]) | {"format": format_, "columns": {"prompt": "question"}}
    assert "column 'question' is missing" in fail(open_rows, dataset)


def test_a_mapped_column_that_the_format_ignores(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [GOOD]) | {"format": "prompt-completion", "columns": {"text": "prompt"}}
    assert fail(open_rows, dataset, InvalidSpec) == (
        "spec.datasets[0].columns.text is not used: format prompt-completion takes prompt, completion; remove it"
    )


def templates(prompt: Any, completion: Any = "{completion}") -> Any:
    return {"promptTemplate": prompt, "completionTemplate": completion}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{", "spec.datasets[0].promptTemplate: { at character 1 names no column"),
        ("a {} b", "{} at character 3 names no column"),
        ("} {prompt}", "} at character 1 names no column"),
        ("constant", "promptTemplate names no column"),
    ],
)
def test_a_broken_template(folder: Any, open_rows: Any, template: Any, message: Any) -> None:
    assert message in fail(open_rows, folder.put("a.jsonl", [GOOD]) | templates(template), InvalidSpec)


@pytest.mark.parametrize(
    "template", ["{prompt.__class__}", "{prompt[0]}", "{prompt!r}", "{prompt:>9}", "{0}", "{self}", "{__class__}"]
)
def test_a_template_reaches_columns_only(folder: Any, open_rows: Any, template: Any) -> None:
    text = fail(open_rows, folder.put("a.jsonl", [GOOD]) | templates(template))
    assert f"the template's column {template[1:-1]!r} is missing" in text


def test_a_template_column_that_is_no_text(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [GOOD, GOOD | {"prompt": ["x"]}]) | templates("{prompt}")
    assert "line 2: the template's column 'prompt' is neither text nor a number" in fail(open_rows, dataset)


def test_an_empty_completion_of_a_template(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.jsonl", [GOOD | {"completion": ""}]) | templates("{prompt}")
    assert "the completion that is built of it is empty" in fail(open_rows, dataset)
