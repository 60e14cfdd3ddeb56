"""The repository's own tools: tests/uv.py, tests/lock.py and tests/run.py."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]

_PIP = """\
:env:.cert='/etc/authority.pem'
:env:.find-links='/wheels /more'
global.cert='/etc/other.pem'
global.index-url='https://mirror.example/simple'
global.extra-index-url='\\nhttps://one.example/simple\\nhttps://two.example/simple'
install.index-url='https://install.example/simple'
download.index-url='https://download.example/simple'
"""


@pytest.fixture
def load(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a file of tests/ as a module."""

    def tool(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"tool_{name}", repository / "tests" / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return tool


def test_uv_gets_what_pip_is_configured_with(load: Load) -> None:
    environment = load("uv").uv_environment(_PIP, {})
    assert environment == {
        "SSL_CERT_FILE": "/etc/authority.pem",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_DEFAULT_INDEX": "https://install.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def test_what_is_set_for_uv_itself_stays(load: Load) -> None:
    environment = load("uv").uv_environment(_PIP, {"UV_DEFAULT_INDEX": "https://own.example", "HOME": "/home/me"})
    assert environment["UV_DEFAULT_INDEX"] == "https://own.example"
    assert environment["HOME"] == "/home/me"


def test_a_pip_without_configuration_changes_nothing(load: Load) -> None:
    assert load("uv").uv_environment("", {"HOME": "/home/me"}) == {"HOME": "/home/me", "UV_PYTHON_DOWNLOADS": "never"}


def test_requirement_files_are_fresh(repository: Path) -> None:
    command = [sys.executable, "tests/lock.py", "--check"]
    result = subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_a_changed_dependency_is_noticed_offline(repository: Path, tmp_path: Path) -> None:
    for folder in ("crds", "operator", "trainer-image", "tests"):
        (tmp_path / folder).mkdir()
        for path in [*(repository / folder).glob("requirements*.txt"), repository / folder / "pyproject.toml"]:
            if path.exists():
                shutil.copy(path, tmp_path / folder)
    shutil.copy(repository / "pyproject.toml", tmp_path)
    shutil.copy(repository / "tests" / "lock.py", tmp_path / "tests")
    project = tmp_path / "operator" / "pyproject.toml"
    project.write_text(project.read_text().replace('"aiohttp>=', '"aiohttp>1,>='))
    command = [sys.executable, "tests/lock.py", "--check"]
    result = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    # tests/requirements.txt pins the operator's dependencies too; the trainer's files are untouched.
    assert result.stderr.startswith("operator/requirements.txt, tests/requirements.txt: compiled from other")


def test_a_step_returns_the_commands_status(load: Load) -> None:
    tool = load("run")
    assert tool.run(tool.Step("succeeds", ("true",), 10)) == 0
    assert tool.run(tool.Step("fails", ("sh", "-c", "exit 7"), 10)) == 7


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let interrupts through, as run.py's main does: what runs in a shell's background starts with them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_a_step_is_stopped_at_its_limit(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    tool = load("run")
    assert tool.run(tool.Step("hangs", ("sleep", "60"), 0.2)) == 124
    assert "killed" not in capsys.readouterr().err


def _runs(pid: str) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # a zombie's is empty
    except FileNotFoundError:
        return False


@pytest.mark.usefixtures("interrupts")
def test_what_a_stopped_step_started_ends_with_it(load: Load, tmp_path: Path) -> None:
    tool = load("run")
    started = tmp_path / "pid"
    # A shell's background job ignores the interrupt that its shell dies of.
    script = f"sleep 60 & echo $! > {started}; wait"
    assert tool.run(tool.Step("hangs", ("bash", "-c", script), 1)) == 124
    deadline = time.monotonic() + 10
    while _runs(started.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_runs_after_a_failure(load: Load, tmp_path: Path) -> None:
    tool = load("run")
    steps = [tool.Step("fails", ("false",), 10), tool.Step("marks", ("touch", str(tmp_path / "ran")), 10)]
    assert tool.first_failure(*steps) == 1
    assert not (tmp_path / "ran").exists()


# A stand-in for the local cluster's tool: it writes down what it is asked; a real one takes minutes to bring up.
_CLUSTER_TOOL = """\
import sys, time
from pathlib import Path
log = Path(__file__).with_name("log")
with log.open("a") as file:
    file.write(sys.argv[1] + "\\n")
if sys.argv[1] == "status":
    sys.exit({status})
if sys.argv[1] == "up":
    time.sleep({seconds})
"""


def _repository(folder: Path, repository: Path, *, status: int, seconds: float, tests: int) -> Path:
    """Make a repository whose cluster and tests are stand-ins, and return the log of what the cluster was asked."""
    (folder / "tests" / "cluster").mkdir(parents=True)
    (folder / ".build" / "venv" / "bin").mkdir(parents=True)
    shutil.copy(repository / "tests" / "run.py", folder / "tests")
    (folder / "Makefile").write_text("test-fast test-slow:\n\t@true\n")
    tool = folder / "tests" / "cluster" / "__main__.py"
    tool.write_text(_CLUSTER_TOOL.format(status=status, seconds=seconds))
    runner = folder / ".build" / "venv" / "bin" / "pytest"
    runner.write_text(f"#!/bin/sh\nexit {tests}\n")
    runner.chmod(0o755)
    return folder / "tests" / "cluster" / "log"


@pytest.mark.parametrize("tests", [0, 3])
def test_a_cluster_brought_up_is_taken_down(repository: Path, tmp_path: Path, tests: int) -> None:
    log = _repository(tmp_path, repository, status=1, seconds=0, tests=tests)
    result = subprocess.run([sys.executable, "tests/run.py"], cwd=tmp_path, check=False, timeout=60)
    assert result.returncode == tests
    assert log.read_text().split() == ["status", "up", "images", "down"]


def test_a_cluster_that_was_up_stays_up(repository: Path, tmp_path: Path) -> None:
    log = _repository(tmp_path, repository, status=0, seconds=0, tests=0)
    result = subprocess.run([sys.executable, "tests/run.py"], cwd=tmp_path, check=False, timeout=60)
    assert result.returncode == 0
    assert log.read_text().split() == ["status", "images"]


def test_the_current_contexts_cluster_is_left_alone(repository: Path, tmp_path: Path) -> None:
    log = _repository(tmp_path, repository, status=1, seconds=0, tests=5)
    environment = {**os.environ, "CLUSTER": "current"}
    command = [sys.executable, "tests/run.py"]
    result = subprocess.run(command, cwd=tmp_path, check=False, env=environment, timeout=60)
    assert result.returncode == 5
    assert not log.exists()


def _wait_for(log: Path, word: str) -> None:
    deadline = time.monotonic() + 30
    while not (log.exists() and word in log.read_text()):
        assert time.monotonic() < deadline, f"{word} was never asked"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_takes_its_half_made_cluster_down(repository: Path, tmp_path: Path, number: int) -> None:
    log = _repository(tmp_path, repository, status=1, seconds=60, tests=0)
    with subprocess.Popen([sys.executable, "tests/run.py"], cwd=tmp_path) as process:
        _wait_for(log, "up")
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert log.read_text().split() == ["status", "up", "down"]
