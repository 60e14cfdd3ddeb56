"""How to use an output: the few lines of Python and the command that the page and the card both show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith_trainer.report.facts import Facts

_MODEL = """\
from transformers import {model_class}, AutoTokenizer

folder = "output"  # {place}
model = {model_class}.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
"""
_ADAPTER = """\
from peft import PeftModel
from transformers import {model_class}, AutoTokenizer

folder = "output"  # {place}
tokenizer = AutoTokenizer.from_pretrained(folder)
base = {model_class}.from_pretrained("base"{options})  # {base}
if len(tokenizer) > base.get_input_embeddings().num_embeddings:
    base.resize_token_embeddings(len(tokenizer))
{padding}model = PeftModel.from_pretrained(base, folder)
"""
_SCORE = """\
score = model(**tokenizer("text to score", return_tensors="pt")).logits[0, 0]
"""


def kind(facts: Facts) -> str:
    """Return what the output is."""
    model = "reward model" if facts.scores else "causal language model"
    return f"A PEFT adapter of a {model}" if facts.artifact == "adapter" else f"A {model}"


def python_lines(facts: Facts) -> str:
    """Return the lines that load the output, and let a reward model score a text."""
    lines = (_ADAPTER if facts.artifact == "adapter" else _MODEL).format(
        model_class="AutoModelForSequenceClassification" if facts.scores else "AutoModelForCausalLM",
        # A base model has no head for scores: the adapter brings it along.
        options=", num_labels=1" if facts.scores else "",
        padding="base.config.pad_token_id = tokenizer.pad_token_id\n" if facts.scores else "",
        place=facts.place,
        base=facts.base_model,
    )
    return lines + _SCORE if facts.scores else lines


def command(facts: Facts) -> str | None:
    """Return the command that tries the output in the trainer image; None when it writes nothing."""
    if facts.scores:
        return None
    model = "--model base --adapter output" if facts.artifact == "adapter" else "--model output"
    return f"python -m tunesmith_trainer generate {model}"
