"""What the trainer's bench trains on: a small Llama with random weights, and instruction rows of ragged length."""

from __future__ import annotations

import json
import random
import re
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 1200
VOCABULARY = 8192
_LONGEST_WORDS = 360


def paragraphs() -> list[str]:
    """Return the paragraphs of Python's language reference, which every Python ships."""
    parts = (part for topic in sorted(topics) for part in topics[topic].split("\n\n"))
    return [text for part in parts if len(text := re.sub(r"\s+", " ", part).strip()) > 80]


def generated_rows(seed: int = 0) -> list[dict[str, str]]:
    """Return rows whose lengths spread as instruction data's do: many short answers, few long ones."""
    texts, draw = paragraphs(), random.Random(seed)
    rows = []
    for number in range(ROWS):
        words = " ".join(draw.sample(texts, 6)).split()
        length = min(_LONGEST_WORDS, 4 + int(draw.lognormvariate(3.6, 1.0)))
        rows.append(
            {"prompt": f"Question {number}: go on from {words[0]!r}.\n", "completion": " ".join(words[:length])}
        )
    return rows


def alpaca_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file in Alpaca's format as prompt and completion."""
    rows: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return [
        {"prompt": "\n".join(filter(None, (row["instruction"], row["input"]))) + "\n", "completion": row["output"]}
        for row in rows
    ]


def write_rows(rows: list[dict[str, str]], path: Path) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_model(folder: Path, rows: list[dict[str, str]]) -> dict[str, Any]:
    """Write a Llama of about 16 million parameters with a tokenizer trained on the rows; return what it is."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    texts = (row["prompt"] + row["completion"] for row in rows)
    trained.train_from_iterator(
        texts, vocab_size=VOCABULARY, special_tokens=["<|end|>", "<|pad|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer,  # the wrapper has no other door
        eos_token="<|end|>",
        pad_token="<|pad|>",
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"parameters": model.num_parameters(), "vocabulary": VOCABULARY}
