"""Daemons by pid file: who was started is known by pid, start time and boot, so no stranger is ever killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import settings, shell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_START_TIME_FIELD = 19  # of /proc/<pid>/stat, counted after the command's closing parenthesis


def _identity(pid: int) -> str | None:
    """What tells this process from any other that may get its number; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else f"{boot}/{fields[_START_TIME_FIELD]}"


def _pid_file(name: str) -> Path:
    return settings.PIDS / f"{name}.json"


def running(name: str) -> int | None:
    """The pid of the daemon of this name, when it is alive and the one that was started."""
    try:
        record = json.loads(_pid_file(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    pid = int(record["pid"])
    return pid if _identity(pid) == record["identity"] else None


def names() -> list[str]:
    """The daemons with a pid file, alive or not."""
    return sorted(path.stem for path in settings.PIDS.glob("*.json"))


def start(name: str, argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Start a daemon in its own session, its output in `logs/<name>.log`, unless it runs."""
    if running(name) is not None:
        return
    settings.LOGS.mkdir(parents=True, exist_ok=True)
    log = settings.LOGS / f"{name}.log"
    with log.open("wb") as sink:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env=shell.surroundings(environment),
        )
    record = {"pid": child.pid, "identity": _identity(child.pid)}
    shell.write_atomically(_pid_file(name), json.dumps(record))


def require(name: str) -> None:
    """Check that a daemon did not end by itself.

    Raises:
        ClusterError: it did; the message shows the end of its log.
    """
    if running(name) is None:
        log = settings.LOGS / f"{name}.log"
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:] if log.exists() else "(no log)"
        raise shell.ClusterError(f"{name} ended by itself; the end of {log}:\n{tail}")


def stop(name: str, grace: float = 10) -> None:
    """End a daemon: SIGTERM, and SIGKILL after `grace` seconds; forget its pid file."""
    end([pid] if (pid := running(name)) is not None else [], grace)
    _pid_file(name).unlink(missing_ok=True)


def end(pids: Sequence[int], grace: float) -> None:
    """End these processes: SIGTERM to all, SIGKILL after `grace` seconds to those left, and wait for the end."""
    alive = {pid: identity for pid in pids if (identity := _identity(pid)) is not None}
    for kind, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for pid in alive:
            _signal(pid, kind)
        deadline = time.monotonic() + seconds
        while alive and time.monotonic() < deadline:
            _reap()
            alive = {pid: identity for pid, identity in alive.items() if _identity(pid) == identity}
            time.sleep(0.05)
        if not alive:
            return


def _signal(pid: int, kind: signal.Signals) -> None:
    try:
        os.kill(pid, kind)
    except ProcessLookupError:
        return


def _reap() -> None:
    """Collect children of ours that ended, so that they do not stay zombies while we wait."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
