"""The meter over Prometheus' client library.

One process keeps its figures in memory. Several workers share a folder of memory-mapped files, from
which whichever of them is asked adds up the figures of all: one address answers for the host, and
what a worker counted outlives it (docs/decisions/0060).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from typing_extensions import override

import plait
from plait_registry.domain.meter import Meter, RequestFacts

# Seconds. Lookups take milliseconds; the completion of a push reads every byte that it brought.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class PrometheusMeter(Meter):
    """The figures of one registry."""

    def __init__(self, shared: Path | None = None) -> None:
        """Take the folder that the workers of this host share; None: there is only one process."""
        self._shared = shared
        own = CollectorRegistry()
        self._seconds = Histogram(
            "plait_request_seconds",
            "How long requests took, from their head to the end of their answer.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=own,
        )
        self._in_flight = Gauge(
            "plait_requests_in_flight",
            "Requests that are being answered now.",
            multiprocess_mode="livesum",
            registry=own,
        )
        self._errors = _counter(own, "request_errors", "Errors answered, by kind.", "route", "kind")
        self._received = _counter(own, "received_bytes", "Bytes of requests' bodies.", "route")
        self._sent = _counter(own, "sent_bytes", "Bytes of answers' bodies.", "route")
        self._pushes = _counter(own, "pushes", "Pushes that were completed.")
        self._verified = _counter(own, "push_verified_bytes", "Bytes of files that pushes brought.")
        self._stored = _counter(own, "push_stored_bytes", "Bytes of objects that were new.")
        self._retries = _counter(own, "transaction_retries", "Transactions that ran again.")
        self._sources = self._find_sources(own)

    @override
    def request_begun(self) -> None:
        self._in_flight.inc()

    @override
    def request_ended(self, facts: RequestFacts, /) -> None:
        self._in_flight.dec()
        # A method may be any word that a client thinks of.
        method = facts.method if facts.method in _METHODS else "other"
        self._seconds.labels(method, facts.route, str(facts.status)).observe(facts.seconds)
        if facts.received:
            self._received.labels(facts.route).inc(facts.received)
        if facts.sent:
            self._sent.labels(facts.route).inc(facts.sent)
        if facts.kind is not None:
            self._errors.labels(facts.route, facts.kind).inc()

    @override
    def push_completed(self, *, verified: int, stored: int) -> None:
        self._pushes.inc()
        self._verified.inc(verified)
        self._stored.inc(stored)

    @override
    def transaction_retried(self) -> None:
        self._retries.inc()

    @override
    def render(self) -> bytes:
        return generate_latest(self._sources)

    def _find_sources(self, own: CollectorRegistry) -> CollectorRegistry:
        if self._shared is None:
            sources = own
            ProcessCollector(registry=sources)
        else:
            sources = CollectorRegistry()
            MultiProcessCollector(sources, path=str(self._shared))  # type: ignore[no-untyped-call]
            sources.register(_WorkerProcesses(self._shared))
        sources.register(_Build())
        return sources


class _Build(Collector):
    """Which program it is."""

    @override
    def collect(self) -> Iterator[Metric]:
        python = ".".join(str(part) for part in sys.version_info[:3])
        facts = {"version": plait.__version__, "python": python}
        yield InfoMetricFamily("plait_build", "The program that answers.", value=facts)


class _WorkerProcesses(Collector):
    """Memory, time and files of each worker, which the library by itself knows of one process."""

    def __init__(self, shared: Path) -> None:
        self._shared = shared

    @override
    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        # These files go with their worker.
        for path in sorted(self._shared.glob("gauge_livesum_*.db")):
            worker = path.stem.rpartition("_")[2]
            for found in ProcessCollector(pid=partial(str, worker), registry=None).collect():
                merged = families.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type)
                )
                for sample in found.samples:
                    merged.add_sample(sample.name, {"worker": worker}, sample.value)
        yield from families.values()


def forget_worker(shared: Path, pid: int) -> None:
    """Drop what was true of a process only while it lived."""
    mark_process_dead(pid, path=str(shared))  # type: ignore[no-untyped-call]


def _counter(registry: CollectorRegistry, name: str, about: str, *labels: str) -> Counter:
    return Counter(f"plait_{name}", about, labels, registry=registry)
