"""Running programs, telling progress, waiting with a bound, and one lock for everything that changes the cluster."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from localcluster import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_STARTED = time.monotonic()
_TAIL = 4000


class ClusterError(Exception):
    """What went wrong, where, and what to do; printed without a traceback."""


def say(message: str) -> None:
    """Print one progress line, with the seconds since the program started, where it is not taken for a result."""
    print(f"[{time.monotonic() - _STARTED:7.1f}s] {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Tell when a step begins and how long it took."""
    say(f"{what} …")
    begin = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - begin:.1f} s")


def surroundings(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the folders of system programs on PATH, and what is added."""
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    return {**os.environ, "PATH": path, **(added or {})}


def attempt(
    argv: Sequence[str | Path],
    *,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep its output, whether it succeeds or not.

    Args:
        argv: program and arguments.
        timeout: seconds after which it is killed.
        environment: added to this process's own environment.
        stdin: text to feed; nothing can be read otherwise.

    Raises:
        ClusterError: the program does not exist or ran past its time.
    """
    command = [str(word) for word in argv]
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=surroundings(environment),
            **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{command[0]} is not installed: run `python3 tests/cluster setup`") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(command)}` was still running after {timeout:.0f} s") from error


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run a program that must succeed and return its standard output; arguments as for `attempt`.

    Raises:
        ClusterError: it failed; the message ends with the last lines it wrote.
    """
    done = attempt(argv, timeout=timeout, environment=environment, stdin=stdin)
    if done.returncode != 0:
        words = " ".join(str(word) for word in argv)
        raise ClusterError(f"`{words}` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-_TAIL:].strip()}")
    return done.stdout


def run_logged(
    argv: Sequence[str | Path],
    log: Path,
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a long program whose output goes to a file; on failure the message shows the file's end.

    Raises:
        ClusterError: it failed or ran past `timeout` seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        try:
            done = subprocess.run(
                [str(word) for word in argv],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                env=surroundings(environment),
                cwd=cwd,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(
                f"`{argv[0]}` was still running after {timeout:.0f} s; its output is in {log}"
            ) from error
    if done.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
        raise ClusterError(
            f"`{' '.join(str(word) for word in argv)}` ended with {done.returncode}:\n{tail}\n(all of it: {log})"
        )


def wait_for(what: str, ready: Callable[[], bool], *, timeout: float, pause: float = 0.2) -> None:
    """Ask until `ready` says yes.

    Raises:
        ClusterError: it did not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {timeout:.0f} s in vain for {what}; logs are in {settings.LOGS}")
        time.sleep(pause)


def write_atomically(path: Path, content: str, mode: int = 0o644) -> None:
    """Write a file under a temporary name and rename it, so that nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(content, encoding="utf-8")
    temporary.chmod(mode)
    temporary.rename(path)


def find_program(name: str) -> str | None:
    """The path of a system program; /usr/sbin and /sbin count even where PATH leaves them out."""
    return shutil.which(name, path=surroundings()["PATH"])


@contextlib.contextmanager
def exclusive(timeout: float = 3600) -> Iterator[None]:
    """Hold the cluster's lock: two commands that change it never run at once.

    Raises:
        ClusterError: another command held it for `timeout` seconds.
    """
    settings.STATE.mkdir(parents=True, exist_ok=True)
    with (settings.STATE / "lock").open("w", encoding="utf-8") as handle:
        deadline = time.monotonic() + timeout
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"another `tests/cluster` command has held its lock for {timeout:.0f} s"
                    ) from None
                if not told:
                    say("another `tests/cluster` command is at work: waiting for it …")
                    told = True
                time.sleep(0.5)
        yield
