"""The ledger of long suites, tests/ledger.py: what passed is not run again, and the table tells of all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each starts pytest several times

_SUITE = """
import pathlib, pytest

@pytest.mark.methods("scheduler")
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_schedule(name, record_property):
    record_property("rate", 0.123456)
    assert name == "linear" or pathlib.Path("mended").exists()
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A repository with a suite of two tests, of which the second fails until it is mended."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    methods: of the suite\n")
    (tmp_path / "tests/unit/trainer").mkdir(parents=True)
    (tmp_path / "tests/unit/trainer/test_it.py").write_text(_SUITE)
    return tmp_path


def run(repository: Path, folder: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.ledger", "--ledger", "long", "-v", *options, "tests"]
    environment = os.environ | {"PYTHONPATH": str(repository), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout


def table(folder: Path) -> list[str]:
    (path,) = folder.glob("tests/results/*-long.md")
    return [line for line in path.read_text().splitlines() if line.startswith("| scheduler")]


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")], ids=["one process", "xdist"])
def test_a_suite_goes_on_where_it_was_left_off(repository: Path, suite: Path, options: tuple[str, ...]) -> None:
    status, told = run(repository, suite, *options)
    assert status == 1
    assert "PASSED (rate 0.1235)" in told
    failed, passed = table(suite)
    assert failed.startswith("| scheduler | a schedule: cosine | failed |")
    assert passed.startswith("| scheduler | a schedule: linear | passed |")
    assert passed.endswith("| rate 0.1235 |")
    (suite / "mended").touch()
    status, told = run(repository, suite, *options)
    assert status == 0
    assert "[linear]" not in told
    assert "[cosine]" in told
    assert [line.split(" | ")[2] for line in table(suite)] == ["passed"] * 2
    status, told = run(repository, suite, *options)
    assert (status, "[cosine]" in told) == (0, False)


def test_another_tree_begins_anew(repository: Path, suite: Path) -> None:
    (suite / "mended").touch()
    run(repository, suite)
    (suite / "crds/src").mkdir(parents=True)
    (suite / "crds/src/more.py").touch()
    _, told = run(repository, suite)
    assert "[linear]" in told
