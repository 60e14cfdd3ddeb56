"""`python -m tunesmith_trainer`: a pod's supervisor.

With `prepare` the check of data and model before training, with `generate` a model to try. The supervisor itself starts
`worker`, one training process, and `launch`, torchrun.
"""

from __future__ import annotations

import logging
import signal
import sys


def main() -> int:
    """Run what the first argument names; return the exit code."""
    if sys.argv[1:] in ([], ["prepare"]):
        # The kernel drops an order to stop that comes before a pod's first process has a handler: hold it until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    # What `generate` writes is its standard output.
    sink = sys.stderr if sys.argv[1:2] == ["generate"] else sys.stdout
    logging.basicConfig(level=logging.INFO, stream=sink, format="%(asctime)s %(levelname)s %(message)s")
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
        case ["generate", *arguments]:
            from tunesmith_trainer.generate.command import main as generate

            return generate(arguments)
        case other:
            known = "use none, `prepare`, `generate`, `worker` or `launch`"
            sys.stderr.write(f"unknown arguments {' '.join(other)}: {known}\n")
            return 2


if __name__ == "__main__":
    sys.exit(main())
