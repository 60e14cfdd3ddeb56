"""A pytest plugin for long suites: what passed is not run again on the same tree, and a dated table tells of all.

    python -m pytest -p tests.ledger --ledger methods -m methods tests/unit/trainer

Every test that ends adds a line to `.build/ledger/<suite>-<digest>.jsonl`; the digest is that of the sources, so that a
changed tree begins anew. A suite that was cut short goes on where it was when it is called again. At the end of each
call `tests/results/<date>-<suite>.md` is written from all these lines. The area of a case is the argument of its marker
`methods`, its figures are what it gives to pytest's `record_property`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import platform
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

_SOURCES = ("crds/src", "trainer-image", "tests/unit/trainer", "tests/hub", "examples")
_SUFFIXES = {".jinja", ".json", ".py", ".txt", ".yaml"}
_AREA = "area"


@dataclass
class Entry:
    """A test that has ended.

    Attributes:
        node: Its id.
        outcome: `passed`, or what pytest calls it otherwise.
        seconds: How long it took, with what it needed set up.
        figures: What it recorded, and its area.
    """

    node: str
    outcome: str = "passed"
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, report: pytest.TestReport) -> None:
        """Take in the report of one phase."""
        self.seconds += report.duration
        self.figures |= dict(report.user_properties)
        if not report.passed:
            self.outcome = report.outcome

    @property
    def passed(self) -> bool:
        """Whether it need not be run again."""
        return self.outcome == "passed"

    @property
    def area(self) -> str:
        """What it is a case of."""
        return str(self.figures.get(_AREA, ""))

    def row(self) -> str:
        """Return its line of the table."""
        name, _, options = self.node.rpartition("::")[2].removeprefix("test_").partition("[")
        case = f"{name.replace('_', ' ')}: {options[:-1]}" if options else name.replace("_", " ")
        cells = (self.area, case, self.outcome, f"{self.seconds:.1f}", in_words(self.figures))
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def in_words(figures: dict[str, Any]) -> str:
    """Return the figures of a test for a reader."""
    told = ((name, value) for name, value in figures.items() if name != _AREA)
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in told)


class Ledger:
    """What has ended on this tree, kept in a file that grows line by line."""

    def __init__(self, suite: str, root: Path) -> None:
        self._suite, self._root = suite, root
        self._digest = digest(root)
        self._path = root / ".build" / "ledger" / f"{suite}-{self._digest}.jsonl"
        self._running: dict[str, Entry] = {}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        self._ended = {entry.node: entry for entry in (Entry(**json.loads(line)) for line in lines)}

    @property
    def passed(self) -> list[str]:
        """The ids of tests that need not be run again."""
        return [entry.node for entry in self._ended.values() if entry.passed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test once it is over; one that killed its process has no phase."""
        entry = self._running.setdefault(report.nodeid, Entry(report.nodeid))
        entry.add(report)
        if report.when not in {"setup", "call"}:
            self._ended[entry.node] = self._running.pop(entry.node)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(entry)) + "\n")

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Show the figures of a test as it ends."""
        figures = in_words(dict(report.user_properties))
        return ("passed", ".", f"PASSED ({figures})") if report.when == "call" and report.passed and figures else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a process of pytest-xdist what has passed: all must leave out the same."""
        node.workerinput["passed"] = self.passed

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the table; a call that finds everything done has not failed."""
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self._ended:
            session.exitstatus = pytest.ExitCode.OK
        if self._ended:
            self._table.parent.mkdir(parents=True, exist_ok=True)
            self._table.write_text(self._text(), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the table is."""
        if self._ended:
            terminalreporter.write_line(f"{len(self.passed)} passed on this tree, all in {self._table}")

    @property
    def _table(self) -> Path:
        return self._root / "tests" / "results" / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}-{self._suite}.md"

    def _text(self) -> str:
        entries = sorted(self._ended.values(), key=lambda entry: (entry.area, entry.node))
        minutes = sum(entry.seconds for entry in entries) / 60
        failed = len(entries) - len(self.passed)
        lines = (
            f"# Suite `{self._suite}`, {dt.datetime.now(dt.UTC):%Y-%m-%d}",
            "",
            f"- `make test-{self._suite}`: {len(self.passed)} passed, {failed} did not, {minutes:.0f} minutes in all",
            f"- machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            f"- digest of the sources: {self._digest}",
            "",
            "| area | case | result | seconds | figures |",
            "|---|---|---|---:|---|",
            *(entry.row() for entry in entries),
        )
        return "\n".join(lines) + "\n"


class Filter:
    """Leaves out what has passed, and gives every test its area."""

    def __init__(self, passed: list[str]) -> None:
        self._passed = set(passed)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect what need not be run again."""
        for item in items:
            marker = item.get_closest_marker("methods")
            item.user_properties.append((_AREA, marker.args[0] if marker and marker.args else item.path.parent.name))
        done = [item for item in items if item.nodeid in self._passed]
        if done:
            config.hook.pytest_deselected(items=done)
            items[:] = [item for item in items if item.nodeid not in self._passed]


def digest(root: Path) -> str:
    """Return what tells two trees apart: a digest of the sources that the tests are about, and of Python's version."""
    total = hashlib.sha256(sys.version.encode())
    for path in sorted(path for source in _SOURCES for path in (root / source).rglob("*") if path.suffix in _SUFFIXES):
        if not re.search(r"/\.|\.egg-info/", path.as_posix().removeprefix(root.as_posix())):
            total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:12]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the suite's name."""
    parser.addoption("--ledger", required=True, metavar="SUITE", help="the suite whose ledger and table are kept")


def pytest_configure(config: pytest.Config) -> None:
    """Set up the ledger in the process that collects reports, the filter in those that collect tests."""
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is not None:
        config.pluginmanager.register(Filter(workerinput["passed"]))
        return
    ledger = Ledger(config.getoption("--ledger"), config.rootpath)
    config.pluginmanager.register(ledger)
    config.pluginmanager.register(Filter(ledger.passed))
