"""Run records as a training leaves them, and the pages made of them, read as a browser does."""

import math
from html.parser import HTMLParser
from typing import Any

from typing_extensions import override

HOSTILE = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>"
VOID = {"meta", "line", "circle", "path"}


def record(**changes: Any) -> dict[str, Any]:
    """Return the record of a run of three steps."""
    run = {
        "kind": "FineTuneJob",
        "namespace": "team",
        "name": "answers",
        "uid": "0b5e",
        "runId": "1",
        "generation": 1,
        "operatorVersion": "0.1.0",
        "spec": {
            "method": "sft",
            "accelerator": "cpu",
            "model": {"fromJob": {"name": "base"}, "dtype": "float32"},
            "peft": {"lora": {"r": 4, "targetModules": ["q_proj", "v_proj"]}},
            "training": {"learningRate": 0.0002, "maxSteps": 3, "gradientCheckpointing": False},
            "reporting": {"runName": "answers"},
            "output": {"claimName": "answers-ftj", "path": "finetunejobs/answers"},
            "podTemplate": {"env": [{"name": "TOKEN", "value": "s3cret"}]},
        },
        "model": {"base": {"claim": "models", "path": "llama"}},
        "profile": {"device": "cpu", "image": "trainer"},
    }
    log = [{"step": step, "epoch": step / 2, "loss": 3.0 / step, "learning_rate": 1e-4} for step in (1, 2, 3)]
    source = {
        "field": "spec.datasets[0]",
        "files": ["claim data, rows.jsonl"],
        "format": "text",
        "columns": ["text"],
        "unusedColumns": [],
        "chat": False,
    }
    return {
        "run": run,
        "attempt": 1,
        "versions": {"python": "3.11", "torch": "2"},
        "dataDigest": "sha256:00",
        "data": {"sources": [source], "train": {"rows": 12345, "used": 12000}, "evaluation": {"rows": 10, "used": 10}},
        "seed": 42,
        "worldSize": 1,
        "attempts": [{"number": 1, "podUid": "pod", "created": "2026-01-31T12:00:00Z"}],
        "steps": 3,
        "plannedSteps": 3,
        "model": {"class": "LlamaForCausalLM", "chosenBecause": None, "parameters": 1000, "trainedParameters": 10},
        "hub": [],
        "baseModel": None,
        "metrics": [*log, {"step": 3, "epoch": 1.5, "eval_loss": 1.0, "eval_perplexity": math.e}],
        "seconds": {"initialising": 1.0, "training": 2.0, "checkpointing": 0.0, "evaluating": 1.0},
        "initialEvaluation": {"eval_loss": 2.0, "eval_perplexity": math.e**2},
        "finalEvaluation": {"eval_loss": 1.0, "eval_perplexity": math.e},
        **changes,
    }


class Page(HTMLParser):
    """The elements, links and text of a page; elements must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        self.text += data
