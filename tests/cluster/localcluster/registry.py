"""The image registry: a plain process on the node's address, its content kept between starts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from localcluster import processes, settings, shell

if TYPE_CHECKING:
    from pathlib import Path

NAME = "registry"


def start() -> None:
    """Drop what no tag names any more, start the registry and wait until it answers.

    Raises:
        ClusterError: it ended or did not answer in time.
    """
    if processes.running(NAME) is not None:
        return
    configuration = settings.CONFIGURATION / "registry.json"
    shell.write_atomically(configuration, json.dumps(_configuration(), indent=2))
    program = settings.BIN / "registry"
    environment = {"OTEL_TRACES_EXPORTER": "none"}
    if (settings.REGISTRY_DATA / "docker").exists():
        command: list[str | Path] = [program, "garbage-collect", "--delete-untagged", "--quiet", configuration]
        shell.attempt(command, timeout=300, environment=environment)
    processes.start(NAME, [program, "serve", configuration], environment)
    shell.wait_for("the image registry", _answers, timeout=30)


def _answers() -> bool:
    processes.require(NAME)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{settings.REGISTRY}/v2/", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _configuration() -> dict[str, object]:
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(settings.REGISTRY_DATA)},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": settings.REGISTRY},
    }
