"""`/progress` for the operator and `/metrics` for Prometheus, from the moment the pod starts."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from tunesmith_api.pod import METRICS_PATH, PROGRESS_PATH, PROGRESS_PORT
from tunesmith_api.progress import Progress

_REQUEST_SECONDS = 10
_log = logging.getLogger(__name__)


class ProgressCollector(Collector):
    """Turns the newest progress into gauges whenever Prometheus asks."""

    def __init__(self, progress: Callable[[], Progress], labels: dict[str, str]) -> None:
        """Make a collector.

        Args:
            progress: Returns the newest progress.
            labels: Labels that every figure carries.
        """
        self._progress = progress
        self._labels = labels

    @override
    def collect(self) -> Iterator[Metric]:
        progress = self._progress()
        yield self._gauge("step", "Optimiser steps done.", progress.current_step)
        yield self._gauge("steps_planned", "Optimiser steps in all.", progress.total_steps)
        yield self._gauge("epoch", "Passes over the data done.", progress.epoch)
        yield self._gauge(
            "remaining_seconds", "Estimated time to the end of training.", progress.estimated_remaining_seconds
        )
        yield self._gauge(
            "heartbeat_age_seconds", "Time since the last sign of life.", progress.seconds_since_heartbeat
        )
        yield self._gauge("world_size", "Processes that train together.", progress.world_size)
        yield self._gauge("resumed_from_step", "Step of the checkpoint it went on from.", progress.resumed_from_step)
        newest = max(progress.checkpoint_steps, default=None)
        yield self._gauge("checkpoint_step", "Step of the newest whole checkpoint.", newest)
        yield self._labelled("figure", "Newest figure of the training by its name.", "name", progress.metrics)
        yield self._labelled("spent_seconds", "Where the time went.", "on", progress.seconds.model_dump())

    def _gauge(self, name: str, text: str, value: float | None) -> Metric:
        family = GaugeMetricFamily(f"tunesmith_training_{name}", text, labels=list(self._labels))
        if value is not None:
            family.add_metric(list(self._labels.values()), value)
        return family

    def _labelled(self, name: str, text: str, label: str, values: dict[str, float]) -> Metric:
        family = GaugeMetricFamily(f"tunesmith_training_{name}", text, labels=[*self._labels, label])
        for key, value in values.items():
            family.add_metric([*self._labels.values(), key], value)
        return family


class _Server(ThreadingHTTPServer):
    """Answers over IPv4 and IPv6: a cluster may have either."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    daemon_threads = True

    @override
    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not that of HTTPServer: it asks the DNS for the host's full name, which may take long to fail.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "trainer", int(self.server_address[1])


class ProgressServer:
    """Serves in threads of its own; the training processes are elsewhere and never wait for it."""

    def __init__(self, progress: Callable[[], Progress], labels: dict[str, str], port: int = PROGRESS_PORT) -> None:
        """Bind the port.

        Args:
            progress: Returns the newest progress.
            labels: Labels of every figure.
            port: Port to listen on; 0 for any.

        Raises:
            OSError: The port is taken.
        """
        registry = CollectorRegistry()
        registry.register(ProgressCollector(progress, labels))
        answers: dict[str, tuple[str, Callable[[], bytes]]] = {
            PROGRESS_PATH: (
                "application/json",
                lambda: progress().model_dump_json(by_alias=True, exclude_none=True).encode(),
            ),
            METRICS_PATH: (CONTENT_TYPE_PLAIN_0_0_4, lambda: generate_latest(registry)),
        }
        self._server = _Server(("", port), _handler(answers))
        self.port = self._server.server_port

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, name="progress", daemon=True).start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _handler(answers: dict[str, tuple[str, Callable[[], bytes]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:
            known = answers.get(self.path.partition("?")[0])
            if known is None:
                self.send_error(HTTPStatus.NOT_FOUND, explain=f"there are {', '.join(answers)}")
                return
            kind, answer = known
            body = answer()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            _log.debug(format, *args)

    return Handler
