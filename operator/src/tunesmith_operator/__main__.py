"""`python -m tunesmith_operator --config FILE`: run the operator."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from tunesmith_operator import __version__, settings

logger = logging.getLogger("tunesmith_operator")

EXIT_SETTINGS = 2
EXIT_RESTART = 3


def main() -> NoReturn:
    """Run until told to stop; anything else that ends it is an exit code other than 0."""
    parser = argparse.ArgumentParser(prog="tunesmith_operator", description="The Tunesmith operator.")
    parser.add_argument("--config", type=Path, default=settings.DEFAULT_PATH, help="settings (default: %(default)s)")
    parser.add_argument("--kubeconfig", type=Path, help="kubeconfig; default: KUBECONFIG, or the pod's service account")
    parser.add_argument("--version", action="version", version=__version__)
    arguments = parser.parse_args()
    try:
        chosen = settings.load(arguments.config)
    except settings.SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no log yet
        sys.exit(EXIT_SETTINGS)
    _run(chosen, arguments.kubeconfig)


def _run(chosen: settings.Settings, kubeconfig: Path | None) -> NoReturn:
    from tunesmith_operator import app, logs  # noqa: PLC0415 - wrong settings are told before a second of imports

    logs.configure(chosen.log_format, chosen.log_level)
    code = 0
    try:
        # Not asyncio.run: it ends by waiting without a limit for every task, and one of kopf's can outlast its end.
        asyncio.new_event_loop().run_until_complete(app.run(chosen, kubeconfig))
        logger.info("stopped")
    except Exception as error:
        logger.critical(
            "the operator ends, to be started again: %s", error, exc_info=logger.isEnabledFor(logging.DEBUG)
        )
        code = EXIT_RESTART
    finally:
        logging.shutdown()
    # Nothing that hangs in a thread or a callback may keep a dead operator alive.
    os._exit(code)


if __name__ == "__main__":
    main()
