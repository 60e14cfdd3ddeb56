"""Which split a file of a folder belongs to, told from its path by the rules of the Hub's data sets.

Source: huggingface.co/docs/hub/datasets-file-names-and-splits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePath

_NAMES = (
    ("train", "training"),
    ("validation", "valid", "val", "dev"),
    ("test", "testing", "eval", "evaluation"),
)
_SEPARATORS = "[-._ 0-9/]"


def names_of(split: str) -> tuple[str, ...]:
    """Return the words that a split goes by in paths: `dev` is `validation`, any other word only itself."""
    return next((names for names in _NAMES if split.lower() in names), (split.lower(),))


def belongs_to(path: PurePath, split: str) -> bool:
    """Whether a path names a split, in a folder or in the file name: `test/a.csv`, `test-00000-of-00002.parquet`.

    Args:
        path: Path of the file below the dataset's folder.
        split: The split.
    """
    words = "|".join(map(re.escape, names_of(split)))
    return re.search(f"(^|{_SEPARATORS})({words})({_SEPARATORS}|$)", path.as_posix().lower()) is not None


def splits_of(path: PurePath) -> set[str]:
    """Return the usual splits that a path names, by their first names."""
    return {names[0] for names in _NAMES if belongs_to(path, names[0])}
