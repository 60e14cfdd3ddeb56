"""The demo's data: real text that every Python ships, so that nothing has to be downloaded.

The language reference's topics become a corpus to pretrain on, the docstrings of the standard library become questions
and answers, and a sentence against the same words in disorder becomes a preference.
"""

import importlib
import inspect
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pydoc_data.topics import topics

_MODULES = (
    "argparse", "array", "ast", "base64", "bisect", "builtins", "calendar", "cmath", "collections",
    "contextlib", "copy", "csv", "datetime", "decimal", "difflib", "email.message", "enum", "fractions",
    "functools", "gzip", "hashlib", "heapq", "html", "inspect", "io", "ipaddress", "itertools", "json",
    "logging", "math", "operator", "os", "os.path", "pathlib", "pprint", "queue", "random", "re", "secrets",
    "shutil", "socket", "statistics", "string", "struct", "subprocess", "tarfile", "tempfile", "textwrap",
    "threading", "time", "types", "typing", "unicodedata", "unittest", "urllib.parse", "uuid", "weakref",
    "zipfile",
)  # fmt: skip
_HELD_OUT = 10  # every tenth row is kept from training
Row = dict[str, str]


def corpus(*, minimum: int = 60) -> list[Row]:
    """Return the paragraphs of Python's reference as rows of one text.

    Args:
        minimum: Shortest paragraph that is kept, in characters.
    """
    paragraphs = (part.strip() for topic in sorted(topics) for part in topics[topic].split("\n\n"))
    unique = dict.fromkeys(re.sub(r"\s+", " ", part) for part in paragraphs)
    return [{"text": text} for text in unique if len(text) >= minimum]


def questions() -> list[Row]:
    """Return what functions and methods do: a question as prompt, the docstring's first paragraph as completion."""
    # By answer: a method and its heirs share a docstring, and no held-out answer may have been trained on.
    names = {_first_paragraph(function.__doc__ or ""): name for name, function in _functions()}
    rows = [
        {"prompt": f"What does `{name}` do?\n", "completion": answer}
        for answer, name in sorted(names.items())
        if 30 <= len(answer) <= 300  # noqa: PLR2004 - neither a stub nor an essay
    ]
    random.Random(1).shuffle(rows)  # noqa: S311 - an order, not a secret
    return rows


def preferences(rows: Iterable[Row]) -> list[Row]:
    """Return pairs of answers: the first sentence of the real one, and its words out of order."""
    shuffle = random.Random(2).shuffle  # noqa: S311 - an order, not a secret
    pairs = []
    for row in rows:
        sentence = re.split(r"(?<=[.])\s", row["completion"])[0]
        words = sentence.split()
        disorder = list(words)
        shuffle(disorder)
        if disorder != words:
            pairs.append({"prompt": row["prompt"], "chosen": sentence, "rejected": " ".join(disorder)})
    return pairs


def split(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows to train on and the rows that are held out."""
    held_out = rows[::_HELD_OUT]
    return [row for index, row in enumerate(rows) if index % _HELD_OUT], held_out


def json_lines(rows: Iterable[Row]) -> str:
    """Return rows as a `.jsonl` file."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _functions() -> Iterator[tuple[str, Callable[..., object]]]:
    for module_name in _MODULES:
        module = importlib.import_module(module_name)
        prefix = "" if module_name == "builtins" else f"{module_name}."
        for name, value in _public(module):
            if inspect.isclass(value):
                for method_name, method in _public(value):
                    if callable(method):
                        yield f"{prefix}{name}.{method_name}", method
            elif callable(value):
                yield f"{prefix}{name}", value


def _public(owner: object) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in sorted(vars(owner).items()) if not name.startswith("_"))


def _first_paragraph(docstring: str) -> str:
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    # C functions of older Pythons begin with their signature.
    text = next((part for part in paragraphs if not re.match(r"^[\w.]+\(.*$", part)), "")
    return re.sub(r"\s+", " ", text).strip()
