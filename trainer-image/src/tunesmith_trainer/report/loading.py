"""How to use an output: the few lines of Python and the command that the page and the card both show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith_trainer.report.facts import Facts

_MODEL = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "output"  # {place}
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
"""
_ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "output"  # {place}
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForCausalLM.from_pretrained("base")  # {base}
if len(tokenizer) > base.get_input_embeddings().num_embeddings:
    base.resize_token_embeddings(len(tokenizer))
model = PeftModel.from_pretrained(base, folder)
"""


def python_lines(facts: Facts) -> str:
    """Return the lines that load the output."""
    if facts.artifact == "adapter":
        return _ADAPTER.format(place=facts.place, base=facts.base_model)
    return _MODEL.format(place=facts.place)


def command(facts: Facts) -> str:
    """Return the command that tries the output in the trainer image."""
    model = "--model base --adapter output" if facts.artifact == "adapter" else "--model output"
    return f"python -m tunesmith_trainer generate {model}"
