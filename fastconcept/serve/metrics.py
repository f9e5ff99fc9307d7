"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters and histograms of one server, in a registry of its own.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.looked_up("evidence", True)
    >>> b'fastconcept_cache_lookups_total{kind="evidence",result="hit"} 1.0' in metrics.exposed()
    True
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        self._requests = Histogram(
            "fastconcept_request_seconds",
            "Time from the head of a request to the end of its response.",
            ("route", "status"),
            buckets=_SECONDS,
            **made,
        )
        self._stages = Histogram(
            "fastconcept_stage_seconds",
            "Time per stage: decode, preprocess, encode, ranks, map, solve of the engine; waiting in a queue.",
            ("stage",),
            buckets=_SECONDS,
            **made,
        )
        self._waiting = Gauge("fastconcept_queue_waiting", "Jobs that wait.", ("queue",), **made)
        self._batches = Histogram("fastconcept_batch_size", "Jobs done together.", ("queue",), buckets=_BATCHES, **made)
        self._worked = Histogram(
            "fastconcept_batch_seconds", "Time that jobs done together took.", ("queue",), buckets=_SECONDS, **made
        )
        self._cache = Counter("fastconcept_cache_lookups", "Lookups of what is remembered.", ("kind", "result"), **made)
        self._errors = Counter("fastconcept_errors", "Requests that got an error, by its type.", ("type",), **made)
        self.in_flight = Gauge("fastconcept_requests_in_flight", "Requests that are being answered.", **made)
        self.held = Gauge("fastconcept_body_bytes", "Bytes of request bodies in memory.", **made)
        self.store = Gauge("fastconcept_store_bytes", "Bytes of what is remembered.", **made)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request is answered; 499 stands for one whose client has gone."""
        self._requests.labels(route, str(status)).observe(seconds)

    def stages(self, timings_ms: Mapping[str, float]) -> None:
        """Milliseconds per stage of one call of the engine."""
        for stage, spent in timings_ms.items():
            self._stages.labels(stage).observe(spent / 1e3)

    def error(self, kind: str) -> None:
        """A request got an error."""
        self._errors.labels(kind).inc()

    def looked_up(self, kind: str, hit: bool) -> None:
        """Something was looked for among what is remembered."""
        self._cache.labels(kind, "hit" if hit else "miss").inc()

    def waiting(self, lane: str, count: int) -> None:
        """So many jobs wait now."""
        self._waiting.labels(lane).set(count)

    def batch(self, lane: str, count: int, waited: float, worked: float) -> None:
        """So many jobs were done together; seconds that the first of them waited, and that they took."""
        self._batches.labels(lane).observe(count)
        self._worked.labels(lane).observe(worked)
        self._stages.labels("queue").observe(waited)

    def exposed(self) -> bytes:
        """All of it, as Prometheus reads it."""
        text: bytes = generate_latest(self.registry)
        return text
