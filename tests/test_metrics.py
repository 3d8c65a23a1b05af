"""``/metrics``: what Prometheus reads, and who may."""

from ipaddress import ip_network
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from logui_tx.delivery.progress import Progress
from logui_tx.web.metrics import Figures, MetricsPage
from tests.journals import NOW


def figures(**sinks: Progress) -> Figures:
    return Figures(
        now=NOW,
        events=12,
        connections=3,
        sessions=2,
        in_flight=100,
        journal_failing=False,
        store_away=True,
        sinks=sinks,
    )


class MetricsTests(SynchronousTestCase):
    def ask(self, told: Figures, address: str = "127.0.0.1", **headers: str) -> tuple[int, dict[str, float]]:
        page = MetricsPage(lambda: told, [ip_network("127.0.0.1")], [ip_network("10.0.0.0/8")])
        request: Any = DummyRequest([b"metrics"])
        request.getClientAddress = lambda: type("Address", (), {"host": address})()
        for name, value in headers.items():
            request.requestHeaders.addRawHeader(name.replace("_", "-").encode(), value.encode())
        body = page.render_GET(request).decode()
        if request.responseCode is not None:
            return request.responseCode, {}
        return 200, {
            sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }

    def test_the_server(self) -> None:
        _, found = self.ask(figures())
        self.assertEqual(found["logui_events_stored_total"], 12)
        self.assertEqual((found["logui_connections"], found["logui_sessions"]), (3, 2))
        self.assertEqual((found["logui_journal_failing"], found["logui_store_away"]), (0, 1))
        self.assertIn("process_cpu_seconds_total", found)

    def test_sinks(self) -> None:
        late = Progress(
            behind=7, oldest=NOW - 2500, delivered=5, dead_letters=2, failures=9, trouble="\n", since=NOW
        )
        _, found = self.ask(figures(a=late, b=Progress(paused=True)))
        expected = {
            "lag_records": (7, 0),
            "lag_seconds": (2.5, 0),
            "dead_letters": (2, 0),
            "failing": (1, 0),
            "paused": (0, 1),
            "delivered_records_total": (5, 0),
            "failures_total": (9, 0),
        }
        for name, (a, b) in expected.items():
            self.assertEqual((found[f"logui_sink_{name} a"], found[f"logui_sink_{name} b"]), (a, b), name)

    def test_who_may_read(self) -> None:
        self.assertEqual(self.ask(figures(), "192.0.2.1")[0], 403)
        self.assertEqual(self.ask(figures(), "unix")[0], 200)
        self.assertEqual(self.ask(figures(), "192.0.2.1", X_Forwarded_For="127.0.0.1")[0], 403)
        self.assertEqual(self.ask(figures(), "10.1.2.3", X_Forwarded_For="127.0.0.1")[0], 200)
        self.assertEqual(self.ask(figures(), "10.1.2.3")[0], 403)

    def test_odd_wishes(self) -> None:
        """What no version is, or one that nobody knows, gets the usual text."""
        for version in ("abc", "1.x", "", "-1", "9.9.9", "0.0.1", "1" * 5000):
            for kind in ("application/openmetrics-text", "text/plain"):
                for more in ("", ";escaping=odd", ";escaping="):
                    status, found = self.ask(figures(), Accept=f"{kind};version={version}{more}, */*")
                    self.assertEqual((status, found["logui_connections"]), (200, 3))
