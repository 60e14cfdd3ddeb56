"""Every format of rows and kind of file trains: the loss falls, and the answer asked for is what is learnt."""

import csv
import gzip
import io
import json
from typing import Any

import pytest

PAIRS = [(f"{a}+{b}=", f" {a + b}") for a in range(10) for b in range(4)]
CODE = "def ask(row):\n    return 'Q: ' + row['q'] + '\\nA:'\n\ndef answer(row):\n    return row['a']\n"
FUNCTION = {"configMap": {"name": "code", "key": "functions.py"}}


def said(question: str, answer: str, keys: tuple[str, str], roles: tuple[str, str]) -> list[dict[str, str]]:
    return [dict(zip(keys, pair, strict=True)) for pair in zip(roles, (question, answer), strict=True)]


def separated(delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([("prompt", "completion"), *PAIRS])
    return text.getvalue().encode()


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    rows = [{"messages": said(*pair, ("role", "content"), ("user", "assistant"))} for pair in PAIRS]
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


ROWS: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "text": ("a.txt", "\n\n".join(q + a for q, a in PAIRS).encode(), {}, "text"),
    "messages": ("a.parquet", parquet(), {}, "messages"),
    "ShareGPT": (
        "a.json",
        json.dumps(
            [{"conversations": said(*pair, ("from", "value"), ("human", "gpt"))} for pair in PAIRS]
        ).encode(),
        {},
        "messages",
    ),
    "prompt-completion": ("a.csv.gz", gzip.compress(separated(",")), {}, "prompt-completion"),
    "tabs": ("a.tsv", separated("\t"), {}, "prompt-completion"),
    "Alpaca": (
        "a.jsonl", lines([{"instruction": "Add.", "input": q, "output": a} for q, a in PAIRS]), {}, "instruction"
    ),
    "instruction and response": (
        "a.jsonl", lines([{"instruction": q, "response": a} for q, a in PAIRS]), {}, "instruction"
    ),
    "instruction columns": (
        "a.jsonl",
        lines([{"task": "Add.", "given": q, "result": a} for q, a in PAIRS]),
        {"columns": {"instruction": "task", "input": "given", "output": "result"}},
        "instruction",
    ),
    "templates": (
        "a.jsonl",
        lines([{"q": q, "a": a} for q, a in PAIRS]),
        {"promptTemplate": "Q: {'q'}\nA:", "completionTemplate": "{a}"},
        "prompt-completion",
    ),
    "functions": (
        "a.jsonl",
        lines([{"q": q, "a": a} for q, a in PAIRS]),
        {"promptFunction": FUNCTION | {"function": "ask"}, "completionFunction": FUNCTION | {"function": "answer"}},
        "prompt-completion",
    ),
}  # fmt: skip


STANDING = {"messages", "Alpaca", "functions"}


@pytest.mark.methods("data format")
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in STANDING else ()) for kind in ROWS]
)
def test_rows_of_every_format_are_learnt(lab: Any, base: Any, kind: str, record_property: Any) -> None:
    name, content, more, format_ = ROWS[kind]
    path = lab.path("data", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    code = lab.root / "tunesmith/configmaps/code/functions.py"
    code.parent.mkdir(parents=True)
    code.write_text(CODE, encoding="utf-8")
    spec = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [{"claim": {"name": "data", "path": name}} | more],
        "training": {"maxLength": 64, "maxSteps": 20, "loggingSteps": 1, "learningRate": 1e-2},
    }
    plan = lab.build(lab.context("learns", spec, base))
    assert plan.data_report["sources"][0]["format"] == format_
    assert plan.data_report["train"]["used"] == len(PAIRS)
    row = plan.trainer.train_dataset[5]
    learnt = plan.trainer.processing_class.decode([token for token in row["labels"] if token != -100])
    assert " 2" in learnt
    plan.trainer.train()
    losses = [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]
    record_property("loss", f"{losses[0]:.2f} → {losses[-1]:.2f}")
    assert losses[-1] < losses[0] - 1.0
