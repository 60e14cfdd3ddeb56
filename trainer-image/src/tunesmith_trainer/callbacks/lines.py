"""Files of JSON lines that grow with the steps of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def lines_until(path: Path, step: int) -> list[tuple[int, str]]:
    """Return the lines of a file up to a step, each behind its own; what comes after is trained, and written, again.

    A last line that is not whole, in which an earlier attempt died, is left out.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    numbered = [(json.loads(line)["step"], line) for line in lines if line.endswith("\n")]
    return [(number, line) for number, line in numbered if number <= step]
