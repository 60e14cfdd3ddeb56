"""Run uv with the package index, certificates and wheel folders that this machine's pip is configured with.

uv does not read pip's configuration. Machines behind a mirror or a private authority have that one, so it is handed
over at run time and nothing about it is ever committed. What uv's own environment variables say goes first.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# pip's setting → uv's variable.
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}
# uv separates most lists as pip does, by spaces, but these by commas.
_COMMA_SEPARATED = frozenset({"UV_FIND_LINKS"})
# Sections of pip's configuration that concern an installation, the stronger last.
_SECTIONS = ("global", "install", ":env:")
_UV = Path(__file__).resolve().parent.parent / ".build" / "bootstrap" / "bin" / "uv"


def pip_settings(listing: str) -> Iterator[tuple[str, str]]:
    """Read `pip config list`, weaker settings first.

    Args:
        listing: Lines such as `global.index-url='https://…'`.
    """
    for section in _SECTIONS:
        for line in listing.splitlines():
            key, separator, value = line.partition("=")
            if separator and key.startswith(f"{section}."):
                yield key.removeprefix(f"{section}.").strip("."), str(ast.literal_eval(value))


def uv_environment(listing: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Complete an environment for uv.

    Args:
        listing: What `pip config list` prints.
        environment: The caller's; what it already sets for uv stays.
    """
    translated: dict[str, str] = {}
    for name, value in pip_settings(listing):
        if variable := _VARIABLES.get(name):
            separator = "," if variable in _COMMA_SEPARATED else " "
            translated[variable] = separator.join(value.split())
    # The system's interpreter, never one that uv fetches.
    return {**translated, "UV_PYTHON_DOWNLOADS": "never", **environment}


def main() -> None:
    """Replace this process by uv, with the same arguments."""
    if not _UV.exists():
        sys.exit(f"{_UV} is missing: run `make setup`, which installs uv there.")
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    arguments = [str(_UV), *sys.argv[1:]]
    os.execve(_UV, arguments, uv_environment(listing, os.environ))  # noqa: S606 - no shell is wanted here


if __name__ == "__main__":
    main()
