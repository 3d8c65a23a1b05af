"""What no network sink can be at is told at the start."""

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery.deliveries import make_sinks
from logui_tx.errors import BadOption

PLACES = (
    "http://{}/path",
    "https://{}/path",
    "clickhouse://{}/events",
    "clickhouses://{}/events",
    "kafka://{}/events",
    "kafka://b1:9092,{}/events",
    "redis://{}/0",
    "rediss://{}/0",
    "postgresql://{}/study",
    "postgresql://h1,{}/study",
)


class PlaceTests(SynchronousTestCase):
    def test_no_parameter_holds_a_nul(self) -> None:
        """Which no file's name can."""
        for uri in (
            "http://h/path?secret-file=%00",
            "https://h/path?ca=%00",
            "kafka://h/events?ca=a%00b",
            "rediss://h/0?cert=%00",
            "jsonl:/x?step=hash:event@%00",
        ):
            with self.subTest(uri), self.assertRaisesRegex(BadOption, "^sink: .*: a text without NUL"):
                make_sinks([uri], reactor)

    def test_a_port_is_one(self) -> None:
        for place in PLACES:
            make_sinks([place.format("h:65535")], reactor)
            for port in ("0", "65536", "99999", "-1", "1e3", "80x", "\uff11", "8\u0661"):
                with self.subTest(place, port=port), self.assertRaises(BadOption) as caught:
                    make_sinks([place.format(f"h:{port}")], reactor)
                self.assertRegex(str(caught.exception), "^sink: .*(port|host)")
