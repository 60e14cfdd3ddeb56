import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_FOLDERS = {".ci", "charts", "crds", "examples", "operator", "tests", "trainer-image"}
_FILES = {
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
}
_REQUIREMENTS = (
    "operator/requirements.txt",
    "tests/cluster/requirements-go.txt",
    "tests/requirements-bootstrap.txt",
    "tests/requirements-rival.txt",
    "tests/requirements.txt",
    "trainer-image/requirements-cuda.txt",
    "trainer-image/requirements-test.txt",
    "trainer-image/requirements.txt",
)
_LONGEST_FILE = 400
_LONGEST_FUNCTION = 60


@pytest.fixture(scope="module")
def sources(repository: Path) -> list[Path]:
    """Files that git tracks or would add, as far as they exist."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True, timeout=60).stdout
    return [path for name in listing.split("\0") if name and (path := repository / name).is_file()]


@pytest.fixture(scope="module")
def python_sources(sources: list[Path]) -> list[Path]:
    return [path for path in sources if path.suffix == ".py"]


def test_the_top_level_is_exactly_the_designs(repository: Path, sources: list[Path]) -> None:
    top = {path.relative_to(repository).parts for path in sources}
    assert {parts[0] for parts in top if len(parts) > 1} <= _FOLDERS
    assert {parts[0] for parts in top if len(parts) == 1} <= _FILES


@pytest.mark.parametrize("name", sorted(_FOLDERS | _FILES))
def test_nothing_of_the_top_level_is_missing(repository: Path, name: str) -> None:
    assert (repository / name).exists()


def test_no_python_file_is_too_long(repository: Path, python_sources: list[Path]) -> None:
    lengths = {str(path.relative_to(repository)): len(path.read_text().splitlines()) for path in python_sources}
    assert {name: length for name, length in lengths.items() if length > _LONGEST_FILE} == {}


def _function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_is_too_long(python_sources: list[Path]) -> None:
    lengths = dict(entry for path in python_sources for entry in _function_lengths(path))
    assert {name: length for name, length in lengths.items() if length > _LONGEST_FUNCTION} == {}


def test_the_folder_operator_never_becomes_a_package(repository: Path) -> None:
    # It would shadow the standard library's `operator` for whoever has the repository's root on sys.path.
    assert not (repository / "operator" / "__init__.py").exists()


def test_every_requirement_file_is_known(repository: Path, sources: list[Path]) -> None:
    found = {str(path.relative_to(repository)) for path in sources if re.fullmatch(r"requirements.*\.txt", path.name)}
    assert found == set(_REQUIREMENTS)


@pytest.mark.parametrize("name", _REQUIREMENTS)
def test_every_requirement_is_pinned_and_hashed(repository: Path, name: str) -> None:
    text = re.sub(r"^#.*\n", "", (repository / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    requirement = re.compile(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+( ; [^-]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line for line in text.splitlines() if not requirement.fullmatch(line)] == []


@pytest.mark.parametrize("name", _REQUIREMENTS)
def test_no_requirement_file_says_where_from(repository: Path, name: str) -> None:
    assert re.findall(r"://|--(?:extra-)?index|--find-links|--trusted-host| @ ", (repository / name).read_text()) == []
