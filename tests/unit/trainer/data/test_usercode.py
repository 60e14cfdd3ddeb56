"""Functions of the user's build prompts and completions; what goes wrong in them is told with the row."""

import signal
from typing import Any

import pytest

from tunesmith_trainer.errors import DataError, InvalidSpec

ROWS = [
    {"instruction": "Add.", "input": "1 and 1", "output": "2"},
    {"instruction": "Greet.", "input": "", "output": "Hi"},
]
CODE = """
def no_input(row):
    return "### Instruction:\\n{instruction}\\n\\n### Response:\\n".format_map(row)

def with_input(row):
    return "### Instruction:\\n{instruction}\\n\\n### Input:\\n{input}\\n\\n### Response:\\n".format_map(row)

def prompt(row):
    return no_input(row) if row["input"] == "" else with_input(row)

def answer(row):
    return row.pop("output")

def broken(row):
    return row["missing"]

def number(row):
    return 7

def endless(row):
    while True:
        try:
            pass
        except Exception:
            pass

def leaves(row):
    raise SystemExit(0)

def half(row):
    return "cut \\ud83d"
"""


@pytest.fixture
def use(folder: Any) -> Any:
    """Write code into a ConfigMap and return the dataset that uses it."""

    def write(code: str = CODE, **functions: Any) -> Any:
        path = folder.configmap_path("code", "alpaca.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        source = {"configMap": {"name": "code", "key": "alpaca.py"}, "rowTimeoutSeconds": 0.2}
        return folder.put("rows.jsonl", ROWS) | {
            field: source | {"function": name} if field.endswith("Function") else name
            for field, name in functions.items()
        }

    return write


def test_functions_build_rows(use: Any, open_rows: Any) -> None:
    corpora = open_rows(use(promptFunction="prompt", completionFunction="answer"))
    assert list(corpora.train) == [
        {"prompt": "### Instruction:\nAdd.\n\n### Input:\n1 and 1\n\n### Response:\n", "completion": "2"},
        {"prompt": "### Instruction:\nGreet.\n\n### Response:\n", "completion": "Hi"},
    ]
    report = corpora.report["sources"][0]
    assert report["functions"] == [
        "prompt of key alpaca.py of ConfigMap code",
        "answer of key alpaca.py of ConfigMap code",
    ]
    assert report["unusedColumns"] == [], "only the code knows"


def test_a_function_and_a_template_go_together(use: Any, open_rows: Any) -> None:
    corpora = open_rows(use(promptFunction="prompt", completionTemplate="{output}"))
    assert [row["completion"] for row in corpora.train] == ["2", "Hi"]


def test_the_digest_follows_the_code(use: Any, open_rows: Any) -> None:
    first = open_rows(use(promptFunction="prompt", completionTemplate="{output}")).digest
    assert open_rows(use(CODE + "\n", promptFunction="prompt", completionTemplate="{output}")).digest != first


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "line 1: broken of key alpaca.py of ConfigMap code raises KeyError: 'missing' at line 15; correct"),
        ("number", "returns a number, not text"),
        ("half", "returns half of a character (surrogates not allowed) at character 5; let it return whole ones"),
        ("endless", "takes longer than 0.2 s; make it faster or raise rowTimeoutSeconds"),
        ("leaves", "raises SystemExit: 0 at line 28"),
    ],
)
def test_a_function_that_fails_on_a_row(use: Any, open_rows: Any, function: str, message: str) -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(DataError) as caught:
        open_rows(use(promptFunction=function, completionTemplate="{output}"))
    assert str(caught.value).startswith("file rows.jsonl of claim data, line 1: ")
    assert message in str(caught.value)
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def prompt(row:\n", "key alpaca.py of ConfigMap code can not be loaded: SyntaxError: "),
        ("\nimport not_there\n", "ModuleNotFoundError: No module named 'not_there' at line 2"),
        ("other = 1\n", "key alpaca.py of ConfigMap code has no function prompt"),
    ],
)
def test_code_that_can_not_be_loaded(use: Any, open_rows: Any, code: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        open_rows(use(code, promptFunction="prompt", completionTemplate="{output}"))
    assert str(caught.value).startswith("spec.datasets[0].promptFunction: ")
    assert message in str(caught.value)


def test_a_key_that_is_missing(use: Any, open_rows: Any) -> None:
    dataset = use(promptFunction="prompt", completionTemplate="{output}")
    dataset["promptFunction"]["configMap"]["key"] = "other.py"
    with pytest.raises(DataError, match=r"key other.py of ConfigMap code does not exist; add the key"):
        open_rows(dataset)
