"""What Prometheus is told: requests, how long they took, refusals, work that comes round.

Labels have few values: route templates, never paths; no identities.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from signward import __version__

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable: the folder where several processes gather what they counted."""

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)
"""Of RFC 9110 9.3, and PATCH: HTTP lets clients make up others, as many as they like."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The service's own metrics.  ``registry`` takes further ones."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "signward_requests", "Requests answered", ("route", "method", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "signward_request_seconds", "From the head of a request to its answer", ("route",),
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.refused = Counter(
            "signward_refused", "Requests refused before they were looked at", ("why",),
            registry=self.registry,
        )  # fmt: skip
        self.under_way = Gauge(
            "signward_requests_under_way", "Requests being answered", ("waits",),
            registry=self.registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self.tasks = Counter(
            "signward_task_runs", "Runs of work that comes round", ("task", "outcome"),
            registry=self.registry,
        )  # fmt: skip
        self.task_done = Gauge(
            "signward_task_last_success_seconds", "When it last went well, since 1970 UTC",
            ("task",), registry=self.registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        Gauge(
            "signward_version", "Always 1; the label says which version runs", ("version",),
            registry=self.registry, multiprocess_mode="max",
        ).labels(__version__).set(1)  # fmt: skip

        self._counts: dict[tuple[str, str, int], Counter] = {}
        self._times: dict[str, Histogram] = {}

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer.  Looking its labels up anew would cost more than counting."""
        key = (route, method_label(method), status)
        if key not in self._counts:
            self._counts[key] = self.requests.labels(*key)
            self._times.setdefault(route, self.seconds.labels(route))
        self._counts[key].inc()
        self._times[route].observe(seconds)

    def text(self) -> bytes:
        """Return all metrics, of all processes, in Prometheus's text format."""
        if not os.environ.get(MULTIPROCESS):
            return generate_latest(self.registry)
        gathered = CollectorRegistry()
        MultiProcessCollector(gathered)  # type: ignore[no-untyped-call]
        return generate_latest(gathered)


def method_label(method: str) -> str:
    """Return a method's name as metrics and the log have it; ``other`` for those made up."""
    return method if method in METHODS else "other"


CONTENT_TYPE: Mapping[str, str] = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
