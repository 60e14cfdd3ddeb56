"""Make the page that says what answers to each requirement, or tell what of it does not hold.

The table is `operator/docs/requirements.yaml`: for every field that a required document asks for the field of ours and
the test that shows it, or the reason why it is refused. Fields are looked up in the CRDs, tests in the sources.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tunesmith_api.schema import inlined
from tunesmith_api.v1alpha1.jobs import KINDS

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE = _ROOT / "operator" / "docs" / "requirements.yaml"
_PAGE = _SOURCE.with_suffix(".md")
_HEAD = """\
<!-- Made of requirements.yaml by `make generate`. Do not edit. -->
# What was asked for, and what answers to it

Every field of the required documents, with our field (below `spec`, see [the reference](../../crds/README.md)) and a
test that shows it at work; or the reason why it is refused, and what to use instead. A test holds this table against
the CRDs and the tests.
"""


@dataclass(frozen=True)
class Row:
    """One requirement.

    Attributes:
        document: The document that asks for it.
        section: Its section.
        asks: What is asked for, in the document's words.
        field: Our field below `spec`, empty when it is refused.
        test: The test that shows it: `file::name` below tests/.
        note: What a reader should know about the difference.
        refused: Why there is no such field.
    """

    document: str
    section: str
    asks: str
    field: str = ""
    test: str = ""
    note: str = ""
    refused: str = ""

    def problems(self, fields: frozenset[str]) -> Iterator[str]:
        """Yield what does not hold."""
        if bool(self.field) == bool(self.refused):
            yield f"{self.asks}: name a field or a reason for refusing, and not both"
        if self.field and self.field not in fields:
            yield f"{self.asks}: there is no field spec.{self.field}"
        if self.field and not _exists(self.test):
            yield f"{self.asks}: there is no test {self.test!r}"

    def cells(self) -> tuple[str, ...]:
        """Return the row as the page shows it."""
        if self.refused:
            return f"`{self.asks}`", "refused", self.refused, ""
        return f"`{self.asks}`", f"`{self.field}`", self.note, f"`{self.test}`"


def rows() -> Iterator[Row]:
    """Yield the table."""
    for document in yaml.safe_load(_SOURCE.read_text(encoding="utf-8")):
        for title, section in document["sections"].items():
            for row in section:
                yield Row(document["document"], title, **row)


def fields() -> frozenset[str]:
    """Return the paths of all fields below `spec` of either kind; those of list items without brackets."""
    found: set[str] = set()
    for job in KINDS:
        found.update(_below(inlined(job)["properties"]["spec"], ""))
    return frozenset(found)


def _below(node: dict[str, Any], path: str) -> Iterator[str]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}{name}"
        yield from _below(child.get("items", child), f"{path}{name}.")


def _exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = _ROOT / "tests" / file
    return path.is_file() and bool(re.search(rf"^ *(async )?def {re.escape(name)}\(", path.read_text(), re.MULTILINE))


def page() -> str:
    """Return the page."""
    lines = [_HEAD]
    for document, of_document in itertools.groupby(rows(), lambda row: row.document):
        lines.append(f"## {document}\n")
        for section, of_section in itertools.groupby(of_document, lambda row: row.section):
            lines += [f"### {section}\n", "| asked for | field | remarks | test |", "|---|---|---|---|"]
            lines += [f"| {' | '.join(row.cells())} |" for row in of_section]
            lines.append("")
    return "\n".join(lines)


def problems() -> list[str]:
    """Return everything about the table that does not hold."""
    known = fields()
    return [problem for row in rows() for problem in row.problems(known)]


def main() -> int:
    """Write the page, or only check it."""
    parser = argparse.ArgumentParser(description="Make the page of requirements.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is not up to date")
    arguments = parser.parse_args()
    found = problems()
    for problem in found:
        print(problem, file=sys.stderr)
    if arguments.check:
        if not _PAGE.is_file() or _PAGE.read_text(encoding="utf-8") != page():
            found.append("stale")
            print(f"{_PAGE.relative_to(_ROOT)} is not up to date: run `make generate`", file=sys.stderr)
    else:
        _PAGE.write_text(page(), encoding="utf-8")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
