"""The local cluster's command line: `python3 tests/cluster <command>`."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

from localcluster import golang, images, lifecycle, settings, shell

if TYPE_CHECKING:
    from types import FrameType

_COMMANDS = {
    "setup": "install packages, build binaries and images (about ten minutes the first time)",
    "up": "set up, start and test the cluster; nothing to do when it is up",
    "down": "stop everything and take back what was changed on this machine",
    "status": "tell what runs; ends with 1 unless the cluster is up",
    "kubeconfig": "print the path of the kubeconfig",
    "env": "print `export` lines for a shell: KUBECONFIG, and PATH with kubectl and helm",
    "images": "build the project's images, push them, print their references with digest",
    "helm": "build helm alone, without a cluster, and print its path",
}


def main() -> int:
    """Run one command; 0 when it succeeded."""
    parser = argparse.ArgumentParser(
        prog="python3 tests/cluster", description="A local single-node Kubernetes without Docker."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=text, description=text) for name, text in _COMMANDS.items()}
    parsers["up"].add_argument("--no-smoke", action="store_true", help="leave out the test at the end")
    parsers["images"].add_argument("name", nargs="*", help=f"any of {', '.join(images.PROJECT)}; all when left out")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(arguments)
    except shell.ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on, or `down` to take everything back", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command
    if command == "status":
        return 0 if lifecycle.status() else 1
    if command == "kubeconfig":
        print(settings.KUBECONFIG)
    elif command == "env":
        print(f"export KUBECONFIG={shlex.quote(str(settings.KUBECONFIG))}")
        print(f'export PATH={shlex.quote(str(settings.BIN))}:"$PATH"')
    elif command == "helm" and golang.is_built("helm"):
        print(settings.BIN / "helm")
    else:
        with shell.exclusive():
            _change(command, arguments)
    return 0


def _change(command: str, arguments: argparse.Namespace) -> None:
    if command == "setup":
        lifecycle.setup()
    elif command == "up":
        lifecycle.up(smoke=not arguments.no_smoke)
    elif command == "down":
        lifecycle.down()
    elif command == "helm":
        golang.build_all("helm")
        print(settings.BIN / "helm")
    else:
        for name, reference in images.build_project(arguments.name).items():
            print(f"{name} {reference}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A request to end counts as Ctrl-C: programs that were started for the command end with it."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
