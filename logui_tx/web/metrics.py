"""``/metrics``: how the server is doing, for Prometheus."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import frozen
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.web.http import Request
from twisted.web.resource import Resource

from logui_tx.delivery.progress import Progress
from logui_tx.options import Network
from logui_tx.web.request import address_of, header


@frozen
class Figures:
    """What is told: counters since the start, and how things stand. Times in UNIX ms."""

    now: int
    events: int
    connections: int
    sessions: int
    in_flight: int
    journal_failing: bool
    store_away: bool
    sinks: Mapping[str, Progress]


class Metrics(Collector):
    """The figures as families of metrics."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        now = self._figures()
        yield _counter("logui_events_stored", "Events stored since the start.", now.events)
        yield _gauge("logui_connections", "Open WebSocket connections.", now.connections)
        yield _gauge("logui_sessions", "Sessions with a connection.", now.sessions)
        yield _gauge("logui_in_flight_bytes", "Bytes that wait for the journal.", now.in_flight)
        yield _gauge("logui_journal_failing", "1 while nothing can be stored.", now.journal_failing)
        yield _gauge("logui_store_away", "1 while the session store does not answer.", now.store_away)
        yield from _of_sinks(now)


def _of_sinks(now: Figures) -> Iterator[Metric]:
    gauges: list[tuple[str, str, Callable[[Progress], float]]] = [
        ("lag_records", "Events that the sink does not have yet.", lambda one: one.behind),
        ("lag_seconds", "How long the oldest of them has waited.", lambda one: one.lag(now.now)),
        ("dead_letters", "What the sink refused for good.", lambda one: one.dead_letters),
        ("failing", "1 while the sink takes nothing.", lambda one: one.trouble is not None),
        ("paused", "1 while an operator has paused it.", lambda one: one.paused),
    ]
    counters: list[tuple[str, str, Callable[[Progress], float]]] = [
        ("delivered_records", "Records that the sink has taken.", lambda one: one.delivered),
        ("failures", "Attempts that failed since the start.", lambda one: one.failures),
    ]
    for name, text, value in gauges:
        gauge = GaugeMetricFamily(f"logui_sink_{name}", text, labels=["sink"])
        for sink, progress in now.sinks.items():
            gauge.add_metric([sink], value(progress))
        yield gauge
    for name, text, value in counters:
        counter = CounterMetricFamily(f"logui_sink_{name}", text, labels=["sink"])
        for sink, progress in now.sinks.items():
            counter.add_metric([sink], value(progress))
        yield counter


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


class MetricsPage(Resource):
    """Answers clients of the networks ``allowed``, behind whatever proxies are ``trusted``, and no others."""

    isLeaf = True

    def __init__(
        self, figures: Callable[[], Figures], allowed: Sequence[Network], trusted: Sequence[Network]
    ) -> None:
        Resource.__init__(self)
        self._registry = CollectorRegistry()
        self._registry.register(Metrics(figures))
        ProcessCollector(registry=self._registry)
        self._allowed = allowed
        self._trusted = trusted

    def render_GET(self, request: Request) -> bytes:
        if not self._may_read(address_of(request, self._trusted)):
            request.setResponseCode(403)
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            return b"This address may not read the metrics; see --metrics-from.\n"
        found, content_type = self._encoded(header(request, "accept") or "")
        request.setHeader("Content-Type", content_type)
        request.setHeader("Cache-Control", "no-store")
        return found

    def _encoded(self, accept: str) -> tuple[bytes, str]:
        """The metrics as the client accepts them, or in the usual text; and the content's type."""
        try:
            encode, content_type = choose_encoder(accept)
            return encode(self._registry), content_type
        except Exception:  # noqa: BLE001 - a version may be any text, and is compared as numbers
            encode, content_type = choose_encoder("")
            return encode(self._registry), content_type

    def _may_read(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            # A UNIX socket: whoever may open it is local.
            return address == "unix"
        return any(parsed in network for network in self._allowed)
