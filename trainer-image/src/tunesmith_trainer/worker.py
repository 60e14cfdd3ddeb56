"""One training process: from the frozen run to checkpoints and an output that count."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.progress import Outcome, SavedOutput
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.errors import DiskFull, as_trainer_error, is_disk_full, is_failed_save
from tunesmith_trainer.exchange import Exchange, Result, now
from tunesmith_trainer.models.quantized import hide_unless_needed
from tunesmith_trainer.reporter import Reporter
from tunesmith_trainer.run import Run

_FULL_BYTES = 1 << 26  # a save that failed with less room than this failed for lack of it
_log = logging.getLogger(__name__)


def main() -> None:
    """Train, tell the supervisor how it ended, and exit with that code."""
    context = RunContext.from_environment()
    exchange = Exchange.from_environment()
    reporter = Reporter(context, exchange)
    reporter.tell()
    hide_unless_needed(context.run)
    outcome = outcome_of_run(context, exchange, reporter)
    try:
        exchange.write_result(Result(rank=context.rank, ended=now(), outcome=outcome))
    except OSError as error:
        # The exit code still tells what kind of end it was.
        _log.warning("the end can not be told to the supervisor (%s): %s: %s", error, outcome.reason, outcome.message)
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything that counts is on the volume; tearing down torch and its threads takes seconds and can hang.
    os._exit(outcome.exit_code)


def outcome_of_run(context: RunContext, exchange: Exchange, reporter: Reporter) -> Outcome:
    """Train, and return how it ended, whatever happens."""
    try:
        output: SavedOutput | None = Run(context, exchange, reporter).train()
    except Exception as error:  # noqa: BLE001 - the edge: whatever happens becomes an outcome
        known = as_trainer_error(error, world_size=context.world_size)
        if known is not error:
            _log.exception("rank %d failed", context.rank)
        full = is_failed_save(error) and _free_bytes(context) < _FULL_BYTES
        if full or is_disk_full(error):
            known = DiskFull(_no_room(error, context))
        return reporter.outcome(known.exit_code, str(known))
    return reporter.outcome(ExitCode.SUCCESS, "The output is on the claim, whole", output)


def _free_bytes(context: RunContext) -> int:
    return shutil.disk_usage(context.claim_path(context.run.output.claim)).free


def _no_room(error: Exception, context: RunContext) -> str:
    """Return the message of a full volume: which, how much is free, and what to do."""
    claim = context.run.output.claim
    mount = context.claim_path(claim)
    path = Path(str(getattr(error, "filename", None) or mount))
    if mount not in [path, *path.parents]:
        return f"No space left for temporary files at {path}: raise the node's or the pod's ephemeral storage"
    return (
        f"No space left on claim {claim} ({_free_bytes(context)} bytes are free): enlarge it, remove old runs below"
        f" {context.run.output.path}/runs, or lower checkpoint.keepLast"
    )
