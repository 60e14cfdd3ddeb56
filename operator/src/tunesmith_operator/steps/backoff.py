"""How long to wait before the next attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_operator.status import attempts

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.status import AttemptResult, JobStatus

_CRASH_FIRST, _CRASH_MOST = 10.0, 300.0
_DISRUPTION_FIRST, _DISRUPTION_MOST = 5.0, 60.0
_FREE_DISRUPTIONS = 2


def seconds(status: JobStatus, run_id: str) -> float:
    """Return how long the next attempt waits after the end of the last one, in seconds.

    Crashes double it from 10 s up to 5 min. Disruptions are nobody's fault and cost nothing, unless they come one after
    the other: then something deletes pods as fast as they are made.
    """
    newest = attempts.newest(status)
    if newest is None or newest.run_id != run_id:
        return 0.0
    return _delay(newest.result, status, attempts.disruptions_in_a_row(status, run_id))


def seconds_to_prepare(status: JobStatus) -> float:
    """Return how long the next preparation waits after the end of the last one, in seconds; by the same measure.

    Before the first attempt all that a run has lost were preparations.
    """
    return _delay(status.preparation.result if status.preparation else None, status, status.disruptions)


def _delay(result: AttemptResult | None, status: JobStatus, in_a_row: int) -> float:
    if result == "Crashed":
        return min(_CRASH_MOST, _CRASH_FIRST * 2.0 ** min(16, max(0, status.failures - 1)))
    if in_a_row <= _FREE_DISRUPTIONS:
        return 0.0
    return min(_DISRUPTION_MOST, _DISRUPTION_FIRST * 2.0 ** min(16, in_a_row - _FREE_DISRUPTIONS - 1))
