"""Processes of the bench: the operator, started from the sources and measured by its own metrics too, and its rival."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PORT = 18080
"""Where the operator answers."""
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
METRIC = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """What a process has used so far."""

    cpu_seconds: float
    resident_mib: float
    peak_mib: float


class PythonProcess:
    """A program of Python, measured through /proc."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.started = time.monotonic()

    @classmethod
    async def start(cls, *arguments: str, log: Path, **environment: str) -> Self:
        """Start Python with some arguments; what it prints goes to a file."""
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, env={**os.environ, **environment}, stdout=out, stderr=out
            )
        return cls(process)

    def usage(self) -> Usage:
        """Return processor time and memory of the process."""
        root = Path(f"/proc/{self._process.pid}")
        fields = (root / "stat").read_text().rsplit(")", 1)[1].split()
        memory = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", (root / "status").read_text(), re.MULTILINE))
        return Usage(
            cpu_seconds=(int(fields[11]) + int(fields[12])) / CLOCK_TICKS,
            resident_mib=int(memory["VmRSS"]) / 1024,
            peak_mib=int(memory["VmHWM"]) / 1024,
        )

    async def stop(self) -> None:
        """Ask the process to end, and see to it after 20 seconds."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(20):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


class Operator(PythonProcess):
    """One operator process that has a configuration file."""

    @classmethod
    async def begin(cls, config: Path, kubeconfig: Path, namespace: str, log: Path) -> Self:
        """Start the operator."""
        arguments = ("-m", "tunesmith_operator", "--config", str(config))
        return await cls.start(*arguments, log=log, KUBECONFIG=str(kubeconfig), POD_NAMESPACE=namespace)

    async def ready(self, seconds: float = 120) -> float:
        """Wait until /readyz answers 200; return the seconds since the start.

        Raises:
            TimeoutError: It did not get ready in time, or ended.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.returncode is None:
            if await asyncio.to_thread(self._get, "/readyz") is not None:
                return time.monotonic() - self.started
            await asyncio.sleep(0.1)
        raise TimeoutError(f"the operator was not ready within {seconds:.0f} s (exit code {self._process.returncode})")

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a metric whose labels contain the given ones."""
        text = await asyncio.to_thread(self._get, "/metrics") or ""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(match["value"])
            for match in METRIC.finditer(text)
            if match["name"] == name and all(label in (match["labels"] or "") for label in wanted)
        )
