"""`python -m tunesmith_trainer`: a pod's supervisor.

With `prepare` the check of data and model before training, with `worker` one training process, with `launch` torchrun.
"""

from __future__ import annotations

import logging
import sys


def main() -> int:
    """Run what the first argument names; return the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    match sys.argv[1:]:
        case []:
            from tunesmith_trainer.supervisor import main as supervise

            return supervise()
        case ["worker"]:
            from tunesmith_trainer.worker import main as work

            work()
            return 0
        case ["launch", *arguments]:
            from tunesmith_trainer.launcher import launch

            return launch(arguments)
        case ["prepare"]:
            from tunesmith_trainer.preparation.program import main as prepare

            return prepare()
        case other:
            sys.stderr.write(f"unknown arguments {' '.join(other)}: use none, `worker`, `launch` or `prepare`\n")
            return 2


if __name__ == "__main__":
    sys.exit(main())
