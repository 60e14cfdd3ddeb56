"""The operator as a process of its own, as its image runs it."""

import asyncio
import contextlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CONFIG = {
    "accelerators": {"cpu": {"device": "cpu", "image": "example.com/trainer:1"}},
    "leaseName": "operator",
    "leaseDurationSeconds": 5,
    "leaseRenewSeconds": 1,
    "resyncSeconds": 2,
}


class Operator:
    """A running operator."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, port: int) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    async def ask(self, path: str) -> tuple[int, str]:
        """Ask its HTTP endpoint; status 0 while there is none."""

        def get() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                    return int(answer.status), answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()
            except OSError:
                return 0, ""

        return await asyncio.to_thread(get)


async def until(condition: Callable[[], Any], seconds: float = 45) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def ended(operator: Operator, within: float) -> int:
    """Wait for its end; return its exit code."""
    async with asyncio.timeout(within):
        return await operator.process.wait()


@asynccontextmanager
async def operator(config: Path, unused: int, name: str = "pod-0", **changes: Any) -> AsyncIterator[Operator]:
    """Run an operator; whatever becomes of it, it is gone in the end."""
    (config / f"{name}.yaml").write_text(json.dumps({**CONFIG, **changes, "httpPort": unused}))
    log = config / f"{name}.log"
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tunesmith_operator",
            "--config", str(config / f"{name}.yaml"), "--kubeconfig", str(config / "kubeconfig"),
            env={**os.environ, "POD_NAMESPACE": "default", "POD_NAME": name},
            stdout=out,
            stderr=out,
        )  # fmt: skip
    try:
        yield Operator(process, log, unused)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
