"""Writes the CRDs, the chart's copy of them and the API reference, or checks that they are up to date.

Usage: python -m tunesmith_api.generate [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith_api.crd import crd_file, helm_template
from tunesmith_api.reference import reference
from tunesmith_api.v1alpha1.jobs import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[3]
COMMAND = "make generate"


def files() -> dict[str, str]:
    """Return every generated file: path below the repository's root, and content."""
    generated = {f"crds/{job.plural}.yaml": crd_file(job) for job in KINDS}
    generated |= {f"charts/tunesmith/templates/crd/{job.plural}.yaml": helm_template(job) for job in KINDS}
    generated["crds/README.md"] = reference()
    return generated


def stale(root: Path) -> dict[str, str]:
    """Return the generated files that are missing or differ from the models, as `files` does."""
    return {path: text for path, text in files().items() if not _holds(root / path, text)}


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def write(root: Path) -> list[str]:
    """Write every stale file and return their paths."""
    changed = stale(root)
    for path, text in changed.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return list(changed)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 1 when `--check` finds a stale file."""
    parser = argparse.ArgumentParser(prog="python -m tunesmith_api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is not up to date")
    options = parser.parse_args(arguments)
    if not (ROOT / "crds" / "src").is_dir():
        parser.error(f"{ROOT} is no checkout of the repository: install tunesmith_api editable and run it there")
    if not options.check:
        _say(f"written: {path}" for path in write(ROOT))
        return 0
    outdated = stale(ROOT)
    _say(f"{path} differs from the models in crds/src/tunesmith_api: run `{COMMAND}`" for path in outdated)
    return 1 if outdated else 0


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
