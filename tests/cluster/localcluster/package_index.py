"""How this machine reaches Python packages, handed to image builds as mounted files: nothing of it enters an image."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from localcluster import settings, shell

_CERTIFICATES = "/etc/ssl/certs"
_BUNDLE = f"{_CERTIFICATES}/ca-certificates.crt"
_INDEX_SETTINGS = {"index-url", "extra-index-url", "find-links", "trusted-host", "timeout", "proxy"}
_ALIASES = {"default-timeout": "timeout"}


def mounts() -> list[str]:
    """Flags of `buildah build` that mount name servers, certificates and package indexes."""
    configuration = settings.CONFIGURATION / "pip.conf"
    shell.write_atomically(configuration, _for_pip(_settings()))
    files = {
        "/etc/pip.conf": configuration,
        "/etc/resolv.conf": Path("/etc/resolv.conf"),
        _CERTIFICATES: Path(_CERTIFICATES),
    }
    return [word for target, source in files.items() for word in ("--volume", f"{source}:{target}:ro")]


def _settings() -> dict[str, list[str]]:
    """This machine's pip settings, less those that point to local folders, which a build does not see."""
    found: dict[str, list[str]] = {}
    for line in shell.attempt([sys.executable, "-m", "pip", "config", "list"]).stdout.splitlines():
        key, separator, value = line.partition("=")
        name = key.rpartition(".")[2]
        name = _ALIASES.get(name, name)
        if separator and name in _INDEX_SETTINGS:
            words = str(ast.literal_eval(value)).split()
            found[name] = [word for word in words if not word.startswith(("/", ".", "file:"))]
    return {name: words for name, words in found.items() if words}


def _for_pip(found: dict[str, list[str]]) -> str:
    lines = ["[global]", f"cert = {_BUNDLE}", *(f"{name} = {' '.join(words)}" for name, words in found.items())]
    return "\n".join(lines) + "\n"
