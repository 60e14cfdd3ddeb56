"""How this machine reaches Python packages, handed to image builds as mounted files: nothing of it enters an image."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path

from localcluster import settings, shell

_CERTIFICATES = "/etc/ssl/certs"
_BUNDLE = f"{_CERTIFICATES}/ca-certificates.crt"
# pip's settings that a build needs, and what uv calls them; pip's cover uv too, which does not read them itself.
_INDEX_SETTINGS = {
    "index-url": "",
    "extra-index-url": "",
    "find-links": "find-links",
    "trusted-host": "allow-insecure-host",
    "timeout": "",
    "proxy": "",
}
_ALIASES = {"default-timeout": "timeout"}


def mounts() -> list[str]:
    """Flags of `buildah build` that mount name servers, certificates, package indexes and download caches."""
    found = _settings()
    files = {
        "/etc/pip.conf": _written("pip.conf", _for_pip(found)),
        "/etc/uv/uv.toml": _written("uv.toml", _for_uv(found)),
        "/etc/resolv.conf": Path("/etc/resolv.conf"),
        _CERTIFICATES: Path(_CERTIFICATES),
    }
    words = [word for target, source in files.items() for word in ("--volume", f"{source}:{target}:ro")]
    for tool in ("pip", "uv"):
        cache = Path(os.environ.get(f"{tool.upper()}_CACHE_DIR") or Path.home() / ".cache" / tool)
        cache.mkdir(parents=True, exist_ok=True)
        # The right side is a path in the build container, whose user is root.
        words += ["--volume", f"{cache}:/root/.cache/{tool}"]
    return words


def _written(name: str, text: str) -> Path:
    path = settings.CONFIGURATION / name
    shell.write_atomically(path, text)
    return path


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


def _for_uv(found: dict[str, list[str]]) -> str:
    """Settings of uv: the system's certificates, copies (a cache that is mounted cannot be linked to), the indexes."""
    lines = ["system-certs = true", 'link-mode = "copy"']
    lines += [
        f"{_INDEX_SETTINGS[name]} = {json.dumps(words)}" for name, words in found.items() if _INDEX_SETTINGS[name]
    ]
    # Tables come last in TOML. The first index that has a package wins, so the extra ones go before the main one.
    for name in ("extra-index-url", "index-url"):
        for url in found.get(name, []):
            lines += ["", "[[index]]", f"url = {json.dumps(url)}", f"default = {json.dumps(name == 'index-url')}"]
    return "\n".join(lines) + "\n"
