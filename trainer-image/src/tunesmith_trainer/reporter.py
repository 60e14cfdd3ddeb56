"""Collects what a worker knows about its progress and tells it to the supervisor."""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tunesmith_api.figures import ranked
from tunesmith_api.progress import Outcome, Phase, Progress, SpentSeconds
from tunesmith_trainer.exchange import Beat, Exchange, now
from tunesmith_trainer.outcome import outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tunesmith_api.exitcodes import ExitCode
    from tunesmith_api.progress import SavedOutput
    from tunesmith_trainer.context import RunContext

_QUIET_SECONDS = 0.5
_MAX_METRICS = 64  # what Progress takes
_MAX_NAME = 63
_MOVING_SHARE = 0.1  # of the newest step in the moving average of seconds per step


class Reporter:
    """Progress of one worker. Telling is rate-limited, changes of phase are told at once."""

    def __init__(self, context: RunContext, exchange: Exchange) -> None:
        self._exchange = exchange
        self._tells = context.local_rank == 0
        self._fields: dict[str, Any] = {"attempt": context.attempt, "pod_uid": context.pod_uid, "phase": "starting"}
        self._metrics: dict[str, float] = {}
        self._seconds = dict.fromkeys(SpentSeconds.model_fields, 0.0)
        self._since = exchange.started
        self._told = -math.inf
        self._seconds_per_step: float | None = None
        self._stepped: float | None = None
        self._interrupted = False
        self._unsaved = False

    @contextmanager
    def phase(self, phase: Phase, account: str) -> Iterator[None]:
        """Be in a phase, counting its time to one account, and return to the phase before."""
        before = self._fields["phase"], self._account
        self._enter(phase, account)
        self._interrupted = True
        try:
            yield
        finally:
            self._enter(*before)

    def enter(self, phase: Phase, account: str = "initialising") -> None:
        """Go on to a phase."""
        self._enter(phase, account)

    _account = "initialising"

    def _enter(self, phase: Phase, account: str) -> None:
        self._spend()
        self._account = account
        self._fields["phase"] = phase
        self.tell()

    def _spend(self) -> None:
        moment = now()
        self._seconds[self._account] += moment - self._since
        self._since = moment

    def beat(self) -> None:
        """Show that something is being done."""
        if now() - self._told >= _QUIET_SECONDS:
            self.tell()

    def step(self, step: int, total: int, epoch: float) -> None:
        """Count an optimiser step."""
        moment = now()
        if self._stepped is not None and not self._interrupted:
            self._average(moment - self._stepped)
        self._stepped, self._interrupted, self._unsaved = moment, False, True
        self._fields |= {"current_step": step, "total_steps": total, "epoch": epoch}
        if self._seconds_per_step is not None:
            self._fields["estimated_remaining_seconds"] = (total - step) * self._seconds_per_step
        self.beat()

    def _average(self, seconds: float) -> None:
        if self._seconds_per_step is None:
            self._seconds_per_step = seconds
        else:
            self._seconds_per_step += _MOVING_SHARE * (seconds - self._seconds_per_step)

    def saved(self, steps: tuple[int, ...]) -> None:
        """Tell the checkpoints that count; what was trained up to the newest is safe."""
        self._unsaved = self._fields.get("current_step", 0) > max(steps, default=0)
        self.set(checkpoint_steps=steps)

    def set(self, **fields: Any) -> None:
        """Set fields of tunesmith_api.progress.Progress."""
        self._fields |= fields
        self.tell()

    def metrics(self, metrics: Mapping[str, Any]) -> None:
        """Take over the figures that are finite numbers; drop the ones that no longer are, and the least when many."""
        known = self._metrics | dict(metrics)
        finite = [
            name
            for name, value in known.items()
            if len(name) <= _MAX_NAME and isinstance(value, int | float) and math.isfinite(value)
        ]
        self._metrics = {name: float(known[name]) for name in ranked(finite)[:_MAX_METRICS]}
        self.beat()

    @property
    def seconds(self) -> SpentSeconds:
        """Where the time went so far."""
        self._spend()
        return SpentSeconds(**self._seconds)

    def tell(self) -> None:
        """Write progress for the supervisor."""
        if not self._tells:
            return
        self._told = now()
        progress = Progress(**self._fields, metrics=self._metrics, seconds=self.seconds)
        # A full disk of the node, or a file system gone wrong, must not end a training over its progress.
        with suppress(OSError):
            self._exchange.write_beat(Beat(progress=progress, heartbeat=self._told, trained_since_save=self._unsaved))

    def outcome(self, code: ExitCode, message: str, output: SavedOutput | None = None) -> Outcome:
        """Return how this worker ends."""
        progress = Progress(**self._fields, metrics=self._metrics, seconds=self.seconds)
        return outcome_of(progress, code, message, output)
