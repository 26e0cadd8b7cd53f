"""Prometheus metrics, of this process or, under `samespace serve`, of all its processes together.

prometheus_client looks once, when it is imported, whether several processes share a folder: import this module only
after `web.serving` has named that folder.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from web.observing import Observation

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """What is counted. Labels are route templates and codes, of which there are few, never paths or names."""

    def __init__(self) -> None:
        own = self._own = CollectorRegistry()
        self._requests = Counter(
            "samespace_requests", "Requests answered.", ["method", "route", "status"], registry=own
        )
        self._seconds = Histogram(
            "samespace_request_seconds",
            "From a request to its answer's end.",
            ["route"],
            buckets=_SECONDS,
            registry=own,
        )
        self._errors = Counter("samespace_errors", "Requests that failed.", ["code"], registry=own)
        self._received = Counter("samespace_received_bytes", "Bytes of the bodies that were read.", registry=own)
        self._sent = Counter("samespace_sent_bytes", "Bytes of the answers' bodies.", registry=own)
        self._appended = Counter("samespace_appended_rows", "Vectors written.", registry=own)
        self._fetched = Counter("samespace_fetched_rows", "Vectors given out.", registry=own)
        self.transfers = Gauge(
            "samespace_running_transfers", "Long streams that run.", registry=own, multiprocess_mode="livesum"
        )

    def record(self, seen: Observation) -> None:
        """Count a request that has been answered."""
        self._requests.labels(seen.method, seen.route, str(seen.status)).inc()
        self._seconds.labels(seen.route).observe(seen.seconds)
        if seen.error:
            self._errors.labels(seen.error).inc()
        self._received.inc(seen.received)
        self._sent.inc(seen.sent)
        self._appended.inc(seen.appended)
        self._fetched.inc(seen.fetched)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._own)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
