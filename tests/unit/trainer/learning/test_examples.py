"""The examples of the demo, as they are, on its real text: each takes its margin off the loss of held-out rows.

The margins, in nats, were stated before: the text is the reference of Python's language, the answers are docstrings.
"""

import json
from pathlib import Path
from typing import Any

import corpus
import pytest
import yaml

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
# In this order: each example goes on with what the one before made.
MARGINS = {"01-pretrain-tiny": 1.5, "02-sft-lora": 0.3, "03-dpo": 0.1}


def data() -> dict[str, str]:
    """Return the files of the demo's data by their path on a claim or in a ConfigMap."""
    texts, questions = corpus.split(corpus.corpus()), corpus.split(corpus.questions())
    files = {}
    for name, text, asked in zip(("train.jsonl", "held-out.jsonl"), texts, questions, strict=True):
        files[f"claims/demo-data/corpus/{name}"] = corpus.json_lines(text)
        files[f"claims/demo-data/questions/{name}"] = corpus.json_lines(asked)
        files[f"configmaps/demo-preferences/{name}"] = corpus.json_lines(corpus.preferences(asked))
    return files


@pytest.mark.methods("real text")
def test_what_is_held_out_gets_likelier(lab: Any, finished: Any, record_property: Any) -> None:
    for name, text in data().items():
        path = lab.root / "tunesmith" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    falls = {}
    model = None
    for name in MARGINS:
        job = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
        model = finished(job["metadata"]["name"], job["spec"], model)
        output = model.adapter or model.base
        record = json.loads(lab.path(output.claim, f"{output.path}/run-record.json").read_text(encoding="utf-8"))
        before, after = (record[f"{when}Evaluation"]["eval_loss"] for when in ("initial", "final"))
        record_property(job["spec"]["method"], f"{before:.3f} → {after:.3f}")
        falls[name] = before - after
    assert {name: fall for name, fall in falls.items() if fall < MARGINS[name]} == {}
