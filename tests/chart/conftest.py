"""Renders the chart with helm: what a user would get for some values."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]
Render = Callable[..., list[Object]]


@pytest.fixture(scope="session")
def chart(repository: Path) -> Path:
    """The chart's folder."""
    return repository / "charts" / "tunesmith"


@pytest.fixture(scope="session")
def helm(repository: Path) -> str:
    """Path of helm."""
    built = repository / ".build" / "cluster" / "bin" / "helm"
    found = str(built) if built.exists() else shutil.which("helm")
    if found is None:
        pytest.fail("the chart's tests need helm: `python3 tests/cluster helm` builds it, or put one on the PATH")
    return found


@pytest.fixture(scope="session")
def render(helm: str, chart: Path) -> Render:
    """Renders the chart with values and returns its objects."""

    def run(values: Object | None = None, *arguments: str) -> list[Object]:
        command = (helm, "template", "tunesmith", str(chart), "--namespace", "tunesmith-system", "--values", "-")
        text = subprocess.run(
            (*command, *arguments),
            input=json.dumps(values or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if text.returncode:
            raise AssertionError(text.stderr)
        return [each for each in yaml.load_all(text.stdout, Loader=yaml.CSafeLoader) if each]

    return run


@pytest.fixture(scope="session")
def rendered(render: Render) -> list[Object]:
    """The chart with its default values."""
    return render()
