"""Write the requirement files, or tell whether they still answer to what the packages ask for.

Each file's header carries a digest of what it was compiled from, so that a forgotten `make lock` is noticed offline.
Pins already there are kept where they still fit; `--upgrade` takes the newest.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_ARGUMENTS = (
    "--quiet",
    "--universal",
    "--python-version=3.11",
    "--no-annotate",
    "--generate-hashes",
    # A file says what to install, not from where.
    "--no-emit-index-url",
    "--no-emit-find-links",
    # The repository's own package is installed from its folder.
    "--no-emit-package=tunesmith-api",
)


@dataclass(frozen=True)
class Requirements:
    """One requirement file and what it is compiled from.

    Attributes:
        path: The file.
        projects: Folders of packages whose dependencies it pins.
        group: Dependency group of the root `pyproject.toml` that it pins as well.
        constraint: A requirement file, compiled before, whose pins it must share.
        alone: Whether it pins the group alone, because that file has what the group depends on.
    """

    path: str
    projects: tuple[str, ...] = ()
    group: str = ""
    constraint: str = ""
    alone: bool = False

    def arguments(self) -> list[str]:
        """Return what uv is told about the sources."""
        sources = [f"{project}/pyproject.toml" for project in self.projects]
        group = ["--group", f"pyproject.toml:{self.group}"] if self.group else []
        constraint = ["--constraints", self.constraint] if self.constraint else []
        return [*sources, *group, *constraint, *(["--no-deps"] if self.alone else [])]

    def digest(self) -> str:
        """Return the digest of everything that decides the file's content, but for the index's."""
        read = [_project(project) for project in ("crds", *self.projects)] if self.projects else []
        group = _toml("pyproject.toml")["dependency-groups"][self.group] if self.group else []
        constraint = (_ROOT / self.constraint).read_text() if self.constraint else ""
        inputs = json.dumps([_ARGUMENTS, self.arguments(), read, group, constraint])
        return hashlib.sha256(inputs.encode()).hexdigest()[:16]

    def is_fresh(self) -> bool:
        """Whether the file was compiled from what is there now."""
        path = _ROOT / self.path
        return path.exists() and f"(inputs {self.digest()})" in path.read_text()

    def compile(self, options: Sequence[str]) -> None:
        """Write the file.

        Args:
            options: Further options for uv.
        """
        header = f"make lock (inputs {self.digest()})"
        command = [sys.executable, "tests/uv.py", "pip", "compile", "--python", sys.executable, *_ARGUMENTS]
        command += [*options, "--custom-compile-command", header, *self.arguments(), "--output-file", self.path]
        subprocess.run(command, cwd=_ROOT, check=True, timeout=900)


# In this order: what is a constraint comes before what it constrains.
FILES = (
    Requirements("tests/requirements-bootstrap.txt", group="bootstrap"),
    Requirements("operator/requirements.txt", projects=("operator",)),
    Requirements("tests/requirements.txt", projects=("operator",), group="dev", constraint="operator/requirements.txt"),
    Requirements("trainer-image/requirements.txt", projects=("trainer-image",)),
    Requirements(
        "trainer-image/requirements-test.txt", group="trainer-test", constraint="trainer-image/requirements.txt"
    ),
    Requirements(
        "trainer-image/requirements-cuda.txt",
        group="trainer-cuda",
        constraint="trainer-image/requirements.txt",
        alone=True,
    ),
    Requirements("tests/requirements-rival.txt", group="rival"),
)


def _toml(path: str) -> dict[str, dict[str, object]]:
    return tomllib.loads((_ROOT / path).read_text())


def _project(folder: str) -> list[object]:
    project = _toml(f"{folder}/pyproject.toml")["project"]
    return [project["requires-python"], project["dependencies"]]


def check() -> None:
    """End the process with a message when a file is stale."""
    stale = [requirements.path for requirements in FILES if not requirements.is_fresh()]
    if stale:
        sys.exit(
            f"{', '.join(stale)}: compiled from other dependencies than the pyproject.toml files now ask for."
            " Run `make lock` and commit what it writes."
        )
    print(f"{len(FILES)} requirement files answer to the pyproject.toml files")


def main() -> None:
    """Write all requirement files, or only check them."""
    parser = argparse.ArgumentParser(description="Write the requirement files.")
    parser.add_argument("--check", action="store_true", help="only tell, offline, whether they are up to date")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions instead of those pinned")
    arguments = parser.parse_args()
    if arguments.check:
        check()
        return
    for requirements in FILES:
        print(f"==> {requirements.path}", flush=True)
        requirements.compile(["--upgrade"] if arguments.upgrade else [])


if __name__ == "__main__":
    main()
