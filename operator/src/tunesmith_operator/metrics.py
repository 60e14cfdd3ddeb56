"""The operator's own metrics. Everything here is bounded: no label holds a name that a user chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.core import Metric

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_queue_depth = Gauge("tunesmith_queue_depth", "Jobs waiting to be reconciled.", registry=REGISTRY)
_queue_age = Gauge(
    "tunesmith_queue_oldest_age_seconds", "Waiting time of the job that waits longest.", registry=REGISTRY
)
_reconcile_seconds = Histogram(
    "tunesmith_reconcile_seconds", "Duration of one pass over one job.", buckets=_SECONDS, registry=REGISTRY
)
_reconcile_total = Counter(
    "tunesmith_reconcile_total",
    "Passes by result: unchanged, changed, gone, retry, error.",
    ["result"],
    registry=REGISTRY,
)
_api_requests = Counter(
    "tunesmith_api_requests_total", "Requests that the API server carried out.", ["verb"], registry=REGISTRY
)
_api_errors = Counter(
    "tunesmith_api_errors_total", "Requests that failed; code 0: no answer.", ["verb", "code"], registry=REGISTRY
)
_watch_events = Counter("tunesmith_watch_events_total", "Watch events received.", ["kind"], registry=REGISTRY)
_watch_age = Gauge(
    "tunesmith_watch_age_seconds",
    "Time since the watch last told a change of the operator's own Lease.",
    registry=REGISTRY,
)
_lease_held = Gauge("tunesmith_lease_held", "1 while this replica leads.", registry=REGISTRY)
_repaired = Counter(
    "tunesmith_resync_repaired_total", "Jobs that only the periodic comparison found to need work.", registry=REGISTRY
)
_resync_seconds = Gauge("tunesmith_resync_duration_seconds", "Duration of the last comparison.", registry=REGISTRY)
_attempts_ended = Counter(
    "tunesmith_attempts_ended_total", "Attempts that ended, by result.", ["result"], registry=REGISTRY
)
_polls = Counter("tunesmith_progress_polls_total", "Questions for progress by result.", ["result"], registry=REGISTRY)
_loop_lag = Gauge("tunesmith_event_loop_lag_seconds", "Lag of the event loop at its last check.", registry=REGISTRY)


class _JobsByState(Collector):
    """Counts jobs when it is scraped, so that no series outlives its jobs."""

    def __init__(self) -> None:
        self.count: Callable[[], Mapping[tuple[str, str], int]] = dict

    @override
    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("tunesmith_jobs", "Jobs by kind and state.", labels=["kind", "state"])
        for (kind, state), number in sorted(self.count().items()):
            family.add_metric([kind, state], number)
        return [family]


_jobs_by_state = _JobsByState()
REGISTRY.register(_jobs_by_state)
for _result in ("unchanged", "changed", "gone", "retry", "error"):
    _reconcile_total.labels(_result)


def observe_queue(depth: Callable[[], float], oldest: Callable[[], float]) -> None:
    """Read depth and oldest age of the queue at every scrape."""
    _queue_depth.set_function(depth)
    _queue_age.set_function(oldest)


def observe_jobs(count: Callable[[], Mapping[tuple[str, str], int]]) -> None:
    """Read the number of jobs by kind and state at every scrape."""
    _jobs_by_state.count = count


def observe_watch(age: Callable[[], float]) -> None:
    """Read the age of the watch at every scrape."""
    _watch_age.set_function(age)


def reconciled(result: str, seconds: float) -> None:
    """Count one pass."""
    _reconcile_total.labels(result).inc()
    _reconcile_seconds.observe(seconds)


def api_request(verb: str) -> None:
    """Count a request that was carried out."""
    _api_requests.labels(verb).inc()


def api_error(verb: str, code: int) -> None:
    """Count a request that failed."""
    _api_errors.labels(verb, str(code)).inc()


def watch_event(kind: str) -> None:
    """Count a watch event."""
    _watch_events.labels(kind).inc()


def lease_held(*, held: bool) -> None:
    """Tell whether this replica leads."""
    _lease_held.set(held)


def resync_repaired() -> None:
    """Count a job that no event had told of."""
    _repaired.inc()


def resync_took(seconds: float) -> None:
    """Tell how long the last comparison took."""
    _resync_seconds.set(seconds)


def attempt_ended(result: str) -> None:
    """Count an attempt that ended."""
    _attempts_ended.labels(result).inc()


def polled(result: str) -> None:
    """Count a question for progress."""
    _polls.labels(result).inc()


def loop_lag(seconds: float) -> None:
    """Tell how late the event loop woke up."""
    _loop_lag.set(seconds)


def render() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
