import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.trial.unittest import TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Record
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import SinkContract, make_batch, make_record, make_session
from logui_tx.testing.sink_contract import made
from tests.integration.receiver import AFTER, BEFORE, Receiver
from tests.integration.sink_chaos import SinkChaos
from tests.integration.test_kraken_tls import make_certificate


def make(uri: str) -> ISink:
    maker, read, _ = read_uri(uri, sink_makers())
    return maker.make(read, reactor)


class ReceiverTestCase(TestCase):
    """``self.receiver`` is there; ``self.uri`` names it."""

    query = "?timeout=5s"
    secure: Any = None

    def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver(secure=self.secure)
        self.receiver.start()
        self.addCleanup(self.receiver.stop)

    @property
    def uri(self) -> str:
        return f"{self.receiver.uri}/collect{self.query}"


class ContractTests(SinkContract, ReceiverTestCase):
    def make_sink(self) -> ISink:
        return make(self.uri)

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        return [
            (one["recordID"], one["sessionID"], one["seq"], text.partition(b',"event":')[2][:-1])
            for one, text in zip(self.receiver.records, self.receiver.texts, strict=True)
        ]

    async def kept_sessions(self) -> dict[str, str | None]:
        return {one["id"]: one["endReason"] for one in self.receiver.sessions.values()}

    async def take_away(self) -> None:
        await self.receiver.stop()

    async def bring_back(self) -> None:
        self.receiver.start()

    def refused_record(self) -> Record:
        bad = make_record(3)
        self.receiver.refused.add(bad.record_id)
        return bad


class FailingContractTests(ContractTests):
    """Taken away, it still answers."""

    query = "?timeout=5s&compress=gzip"

    async def take_away(self) -> None:
        self.receiver.plan.extend([*BEFORE, *AFTER] * 2)

    async def bring_back(self) -> None:
        self.receiver.plan.clear()


class JSONContractTests(ContractTests):
    query = "?timeout=5s&format=json&sessions=no"
    keeps_sessions = False

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        found = []
        for text in self.receiver.texts:
            events = [one.partition(b',"event":')[2] for one in text[:-1].split(b'{"recordID":')[1:]]
            for one, event in zip(json.loads(text), events, strict=True):
                found.append((one["recordID"], one["sessionID"], one["seq"], event.rstrip(b",")[:-1]))
        return found


class AnswerTests(ReceiverTestCase):
    async def opened(self, more: str = "") -> ISink:
        sink = make(self.uri + more)
        self.addCleanup(sink.close)
        await sink.open(b"")
        return sink

    async def away(self, sink: ISink, number: int) -> SinkAway:
        with self.assertRaises(SinkAway) as caught:
            await sink.write(make_batch(made([number])))
        return caught.exception

    async def test_each_failure_in_our_words(self) -> None:
        sink = await self.opened()
        for number, (how, why) in enumerate(
            {
                "500": "answered 500 Internal Server Error",
                "503": "answered 503 Service Unavailable",
                "599": "answered 599",
                "429": "answered 429 Too Many Requests",
                "408": "answered 408 Request Timeout",
                "302": "answered 302 Found: redirects are not followed, give the URI that it leads to",
                "closed": "the connection was lost, or what came is not HTTP (ConnectionLost)",
                "mid-body": "the connection was lost, or what came is not HTTP (ConnectionDone)",
            }.items(),
            1,
        ):
            self.receiver.plan.append(how)
            self.assertEqual(str(await self.away(sink, number)), why)
        for number, how in enumerate(["400", "401", "404", "410", "413", "422"], 1):
            self.receiver.plan.append(how)
            with self.assertRaisesRegex(RecordsRefused, rf"\Aanswered {how} [A-Z][A-Za-z -]+\Z"):
                await sink.write(make_batch(made([number])))
        self.assertEqual(self.receiver.records, [])

    async def test_statuses_that_are_temporary(self) -> None:
        sink = await self.opened("&temporary=422")
        self.receiver.plan.extend(["422", "401"])
        await self.away(sink, 1)
        with self.assertRaises(RecordsRefused):
            await sink.write(make_batch(made([1])))

    async def test_retry_after(self) -> None:
        sink = await self.opened()
        self.receiver.headers["Retry-After"] = "17"
        for how in ("429", "503", "425"):
            self.receiver.plan.append(how)
            self.assertEqual((await self.away(sink, 1)).retry_after, 17)

    async def test_redirects_lead_nowhere(self) -> None:
        sink = await self.opened()
        self.receiver.headers["Location"] = f"{self.receiver.uri}/elsewhere"
        for status in ("301", "302", "303", "307", "308"):
            self.receiver.plan.append(status)
            await self.away(sink, 1)
        self.assertEqual({request.path for request, _ in self.receiver.requests}, {b"/collect"})

    async def test_no_answer_in_time(self) -> None:
        sink = make(f"{self.receiver.uri}/?timeout=100ms")
        self.addCleanup(sink.close)
        await sink.open(b"")
        self.receiver.plan.append("silent")
        self.assertEqual(str(await self.away(sink, 1)), "no answer within 0.1 s")

    async def test_an_answer_without_end(self) -> None:
        """It was told that all is well; the rest is not waited for."""
        sink = await self.opened()
        self.receiver.plan.append("endless")
        await sink.write(make_batch(made([1])))
        await sink.write(make_batch(made([2])))

    async def test_a_compressed_answer_is_not_unpacked(self) -> None:
        sink = await self.opened()
        self.receiver.headers["Content-Encoding"] = "gzip"
        await sink.write(make_batch(made([1])))
        self.assertIsNone(self.receiver.requests[0][0].getHeader("Accept-Encoding"))

    async def test_nobody_there(self) -> None:
        sink = await self.opened()
        await self.receiver.stop()
        self.assertEqual(str(await self.away(sink, 1)), "the connection is refused")
        self.receiver.start()

    async def test_cookies_are_not_kept(self) -> None:
        sink = await self.opened()
        self.receiver.headers["Set-Cookie"] = "a=b; Path=/"
        for number in (1, 2):
            await sink.write(make_batch(made([number])))
        self.assertIsNone(self.receiver.requests[1][0].getHeader("Cookie"))

    async def test_sessions_are_refused_before_records_are_kept(self) -> None:
        sink = await self.opened()
        self.receiver.plan.append("422")
        with self.assertRaises(RecordsRefused):
            await sink.write(make_batch(made([1]), [make_session()]))
        self.assertEqual((self.receiver.records, len(self.receiver.requests)), ([], 1))

    async def test_a_session_that_changed_comes_anew(self) -> None:
        """Records have the same key nevertheless."""
        sink = await self.opened()
        await sink.write(make_batch(made([1]), [make_session()]))
        await sink.write(make_batch(made([1]), [make_session(events=2)]))
        await sink.write(make_batch(made([1])))
        self.assertEqual(self.receiver.sessions["s1"]["events"], 2)
        self.assertEqual([one["seq"] for one in self.receiver.records], [1])


class TLSTests(ReceiverTestCase):
    def setUp(self) -> None:
        self.pem = Path(self.enterContext(TemporaryDirectory())) / "localhost.pem"
        make_certificate(self.pem)
        self.secure = DefaultOpenSSLContextFactory(str(self.pem), str(self.pem))
        super().setUp()

    async def test_a_certificate_that_is_trusted(self) -> None:
        sink = make(f"{self.uri}&ca={self.pem}")
        self.addCleanup(sink.close)
        await sink.open(b"")
        await sink.write(make_batch(made([1, 2])))
        self.assertEqual([one["seq"] for one in self.receiver.records], [1, 2])

    async def test_one_that_is_not(self) -> None:
        sink = make(self.uri)
        self.addCleanup(sink.close)
        await sink.open(b"")
        with self.assertRaisesRegex(SinkAway, r"\ATLS fails: certificate verify failed\Z"):
            await sink.write(make_batch(made([1])))
        self.assertEqual(self.receiver.requests, [])

    async def test_one_of_another_host(self) -> None:
        sink = make(f"{self.uri}&ca={self.pem}".replace("localhost", "127.0.0.1", 1))
        self.addCleanup(sink.close)
        await sink.open(b"")
        with self.assertRaisesRegex(SinkAway, r"\ATLS fails: the certificate is another host's\Z"):
            await sink.write(make_batch(made([1])))


class ChaosTests(SinkChaos, TestCase):
    """The receiver fails on purpose all the time, loses answers, and is killed besides."""

    seed = 11
    secrets = ("hunter2-geheim", "0123456789abcdef-secret")

    def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver(random.Random(self.seed))
        self.receiver.start()
        self.addCleanup(self.receiver.stop)
        self.secret = Path(self.enterContext(TemporaryDirectory())) / "secret"
        self.secret.write_text("0123456789abcdef-secret\n")

    def sink_uri(self) -> str:
        place = f"http://logui:hunter2-geheim@localhost:{self.receiver.port}/collect"
        return f"{place}?secret-file={self.secret}&compress=gzip"

    async def kill_other_end(self) -> None:
        await self.receiver.stop()

    async def start_other_end(self) -> None:
        self.receiver.start()

    async def held(self) -> list[dict[str, Any]]:
        self.assertGreater(len(self.receiver.requests), len(self.receiver.bodies))
        self.assertNotIn("Factory", "".join(self.log))
        return self.receiver.records

    async def held_sessions(self) -> dict[str, str | None]:
        return {one["id"]: one["endReason"] for one in self.receiver.sessions.values()}
