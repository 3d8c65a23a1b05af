"""The sink ``redis:``, as far as no server is needed; see integration/test_sink_redis.py."""

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import BadOption, SinkAway
from logui_tx.redis.address import RedisAddress
from logui_tx.sinks.uri import read_uri
from logui_tx.testing.sink_contract import made, make_batch

SECRET = "hunter2"


def make(uri: str, reactor: Any = None) -> Any:
    maker, read, _ = read_uri(uri, sink_makers())
    return maker.make(read, reactor or MemoryReactorClock())


class AddressTests(SynchronousTestCase):
    def test_places(self) -> None:
        for uri, expected in (
            ("redis://host", RedisAddress(host="host", timeout=5.0)),
            (
                "redis://me:p%40s@[::1]:7000/15?timeout=250ms",
                RedisAddress(host="::1", port=7000, user="me", password="p@s", database=15, timeout=0.25),
            ),
            ("redis://:p@host/", RedisAddress(host="host", password="p", timeout=5.0)),
            (
                "redis+unix://:p@/run/redis%20a.sock?database=2",
                RedisAddress(path="/run/redis a.sock", password="p", database=2, timeout=5.0),
            ),
        ):
            self.assertEqual(make(uri)._address, expected)

    def test_tls(self) -> None:
        self.assertTrue(make("rediss://host")._address.tls)
        self.refused(f"rediss://:{SECRET}@host?ca=/none.pem", "a certificate cannot be read: /none.pem")

    def test_what_is_no_place(self) -> None:
        for uri, why in (
            ("redis:", "a host is expected: redis://host:6379/0"),
            (f"rediss://:{SECRET}@h,h2/0", "a host is expected: redis://host:6379/0"),
            (f"rediss://:{SECRET}@a..b/0", "a host is expected: redis://host:6379/0"),
            (f"rediss://:{SECRET}@xn--/0", "a host is expected: redis://host:6379/0"),
            (f"rediss://:{SECRET}@{'a' * 300}/0", "a host is expected: redis://host:6379/0"),
            (f"redis://{SECRET}@host", "a user without a password"),
            (f"redis://:{SECRET}@host/1/2", "the path is the number of a database"),
            (f"redis://:{SECRET}@host/x", "the database is a number"),
            (f"redis://:{SECRET}@host:x", "the port is a number"),
            (f"redis://:{SECRET}@host:0", "the port is a number"),
            (f"redis://:{SECRET}@host?database=1", "the database is the path"),
            (f"redis://:{SECRET}@host?ca=x", "are for rediss:"),
            ("redis+unix://host/run/x", "needs the path of a socket and no host"),
            ("redis+unix:", "needs the path of a socket and no host"),
            ("redis://host?maxlen=0", "maxlen: at least 1"),
            ("redis://host?lost=x", "lost: "),
            ("redis://host?timeout=0", "timeout: "),
        ):
            self.refused(uri, why)

    def refused(self, uri: str, why: str) -> None:
        error = self.assertRaises(BadOption, make, uri)
        self.assertIn(why, str(error))
        self.assertTrue(str(error).startswith("sink: redis"), error)
        self.assertNotIn(SECRET, f"{error}{error.__context__!r}")


class ConnectionTests(SynchronousTestCase):
    def test_without_a_connection(self) -> None:
        sink = make("redis://127.0.0.1")
        failure = self.failureResultOf(sink.write(make_batch(made([1]))), SinkAway)
        self.assertEqual(str(failure.value), "there is no connection yet")

    def test_closed_while_it_connects(self) -> None:
        sink = make("redis://127.0.0.1", reactor := MemoryReactorClock())
        self.assertNoResult(sink.open(b""))
        self.successResultOf(sink.close())
        self.successResultOf(sink.close())
        reactor.advance(60)
        self.assertEqual(reactor.getDelayedCalls(), [])
