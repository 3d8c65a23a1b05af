"""PROTOCOL, *Common rules*, Limits: how many connections, how silent, and how much one may leave unread."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

from twisted.internet import reactor
from twisted.web.client import Agent, PartialDownloadError, readBody
from twisted.web.http_headers import Headers

from logui_tx.dialects import logui04
from logui_tx.journal.segment import Kind
from logui_tx.model import Close, Limits
from logui_tx.web import websocket
from logui_tx.web.client import UpgradeRefused
from tests.integration.served import PATH, Client, ServedTestCase, event, payload
from tests.integration.test_hostile_input import frame

KIB = 1024


def is_read(transport: Any) -> bool:
    """Whether anything that comes would be read."""
    return transport in transport.reactor.getReaders()


class UpgradeTests(ServedTestCase):
    async def get(self, headers: dict[str, str], method: bytes = b"GET") -> tuple[int, bytes]:
        agent = Agent(reactor)
        fields = Headers({name: [value] for name, value in headers.items()})
        response = await agent.request(method, f"http://127.0.0.1:{self.port}{PATH}".encode(), fields)
        # The refusal of Autobahn has no length, and ends with the connection.
        ended = readBody(response).addErrback(
            lambda why: why.trap(PartialDownloadError) and why.value.response
        )
        return response.code, await ended

    async def test_plain_http_is_told_to_upgrade(self) -> None:
        status, body = await self.get({"Connection": "close"})
        self.assertEqual((status, body), (426, b"This address speaks WebSocket.\n"))

    async def test_a_broken_upgrade_is_refused_and_not_counted(self) -> None:
        whole = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
        for name, value in (
            ("Sec-WebSocket-Key", "short"),
            ("Sec-WebSocket-Version", "7"),
            ("Sec-WebSocket-Version", "x"),
            ("Connection", "close"),
        ):
            status, _ = await self.get({**whole, name: value})
            self.assertIn(status, (400, 426), name)
        for method in (b"POST", b"HEAD"):
            status, _ = await self.get(whole, method)
            self.assertIn(status, (400, 405, 426))
        await self.until(lambda: self.service._gate.connections == 0)
        self.assertEqual(self.service._sockets, set())


class CountTests(ServedTestCase):
    limits = Limits(max_connections=4, max_connections_per_address=3, drain_timeout=0.2)

    async def refused(self, status: int) -> None:
        with self.assertRaises(UpgradeRefused) as caught:
            await self.connect()
        self.assertEqual(caught.exception.status, status)

    async def test_one_too_many_from_an_address_is_429_until_one_has_gone(self) -> None:
        clients = [await self.greet() for _ in range(3)]
        await self.refused(429)
        await self.refused(429)
        for client in clients:
            self.assertEqual((await client.events(1))["statusCode"], "201")
        clients[0].socket.abort()
        await self.until(lambda: self.service._gate.connections == 2)
        await self.greet()
        await self.refused(429)

    async def test_one_too_many_in_all_is_503(self) -> None:
        gate = self.service._gate
        for other in ("192.0.2.1", "192.0.2.2"):
            gate.enter(other)
        await self.greet()
        await self.greet()
        await self.refused(503)
        gate.leave("192.0.2.1")
        await self.greet()

    async def test_every_way_to_go_is_counted(self) -> None:
        for go in ("close", "abort", "refused", "bad", "leave"):
            client = await self.connect()
            if go != "refused":
                await client.ask(self.hello())
            if go in ("close", "abort"):
                getattr(client.socket, go)()
            elif go == "refused":
                client.say(b"x")
            elif go == "bad":
                client.socket.send_raw(frame(b"", opcode=3))
            else:
                client.say(payload(session="leavingPage"))
            await client.socket.closed
            await self.until(lambda: self.service._gate.connections == 0)
        self.assertEqual(self.service._sockets, set())


class MemoryTests(ServedTestCase):
    async def test_what_is_over_is_freed_at_once(self) -> None:
        """The collector seldom comes; a connection that leads back to itself would wait for it."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for go in ("close", "abort", "refused", "leave"):
            client = await self.connect()
            if go != "refused":
                await client.ask(self.hello())
                await client.ask(payload(event(1)))
            await self.until(lambda: len(self.service._sockets) == 1)
            over = [weakref.ref(each) for each in self.service._sockets]
            over += [weakref.ref(each.conversation) for each in self.service._sockets]
            if go in ("close", "abort"):
                getattr(client.socket, go)()
            else:
                client.say(b"x" if go == "refused" else payload(session="leavingPage"))
            await client.socket.closed
            await self.until(lambda: self.service._gate.connections == 0)
            await self.until(lambda over=over: not any(each() for each in over))


class PingTests(ServedTestCase):
    limits = Limits(ping_interval=1, ping_timeout=4, drain_timeout=0.2)

    async def test_half_a_frame_and_silence_is_dropped(self) -> None:
        """The bystander answers its pings, and stays."""
        bystander, client = await self.greet(), await self.greet()
        client.socket._protocol.sendPong = lambda *_: None
        client.socket.send_raw(frame(json.dumps(payload(1)).encode())[:50])
        await client.end()
        session = await self.ended(client.session)
        self.assertEqual((session.events, session.end_reason), (0, "lost"))
        self.assertEqual((await bystander.events(1))["statusCode"], "201")

    async def test_an_unread_connection_is_dropped(self) -> None:
        client = await self.greet()
        client.socket.pause_reading()
        self.assertEqual((await self.ended(client.session)).end_reason, "lost")
        self.assertEqual(self.service._gate.connections, 0)
        client.socket.abort()


class FlowTestCase(ServedTestCase):
    def the_socket(self) -> Any:
        """The server's end of the only connection."""
        (socket,) = self.service._sockets
        return socket

    def reads(self) -> bool:
        """Whether the server reads from the only connection."""
        return is_read(self.the_socket().transport)


class HeldJournal:
    """Keeps what is given to the journal until it is let go."""

    def __init__(self, intake: Any) -> None:
        self.entries: list[Any] = []
        self._intake = intake
        self._append, intake._append = intake._append, self.entries.append

    def let_go(self) -> None:
        self._intake._append = self._append
        for entry in self.entries:
            self._append(entry)


class UnacknowledgedTests(FlowTestCase):
    limits = Limits(max_unacknowledged=100 * KIB, drain_timeout=0.2)

    def setUp(self) -> None:
        # No goodbye of these tests may be given up on.
        self.patch(websocket, "CLOSE_TIMEOUT", 3600)
        super().setUp()

    async def test_past_the_limit_the_server_stops_reading_and_drops_nothing(self) -> None:
        client = await self.greet()
        self.assertTrue(self.reads())
        held = HeldJournal(self.service._parts.intake)
        text = "x" * (10 * KIB)
        for n in range(300):
            client.say(payload(event(n, text=text), payloadID=n + 1))
        await self.until(lambda: not self.reads())
        # What one read of the transport brought may be more than the limit, not what the client sent.
        taken = len(held.entries)
        self.assertTrue(10 <= taken < 60, taken)
        self.assertEqual(self.stored(), [])
        held.let_go()
        self.assertEqual([(await client.hear())["payloadID"] for _ in range(300)], list(range(1, 301)))
        self.assertTrue(self.reads())
        self.assertEqual([e["n"] for _, e, _ in self.stored()], list(range(300)))

    async def test_below_the_limit_it_reads_on(self) -> None:
        client = await self.greet()
        held = HeldJournal(self.service._parts.intake)
        for n in range(9):
            client.say(payload(event(n, text="x" * 10 * KIB)))
        await self.until(lambda: len(held.entries) == 9)
        self.assertTrue(self.reads())
        held.let_go()
        for _ in range(9):
            self.assertEqual((await client.hear())["statusCode"], "201")

    async def test_what_comes_with_the_handshake_counts_too(self) -> None:
        client = await self.connect()
        held = HeldJournal(self.service._parts.intake)
        client.say(self.hello())
        for n in range(100):
            client.say(payload(event(n, text="x" * 10 * KIB)))
        await self.until(lambda: not self.reads())
        self.assertLessEqual(len(held.entries), 1)
        held.let_go()
        self.assertEqual([(await client.hear())["statusCode"] for _ in range(101)], ["200"] + ["201"] * 100)

    async def test_a_refused_handshake_closes_although_more_than_the_limit_followed(self) -> None:
        self.registry.delete_flight(self.flight.id)
        client = await self.connect()
        client.say(self.hello())
        for n in range(100):
            client.say(payload(event(n, text="x" * 10 * KIB)))
        self.assertEqual((await client.hear())["statusCode"], "400")
        end = await client.end()
        self.assertEqual((end.code, end.clean), (1008, True))

    async def test_a_farewell_closes_although_more_than_the_limit_followed(self) -> None:
        client = await self.greet()
        client.say(payload(1, session="leavingPage"))
        for n in range(100):
            client.say(payload(event(n, text="x" * 10 * KIB)))
        end = await client.end()
        self.assertEqual((end.code, end.clean), (1000, True))
        self.assertEqual((await self.ended(client.session)).events, 1)


class CongestionTests(FlowTestCase):
    limits = Limits(max_in_flight=200 * KIB, drain_timeout=0.2)

    async def test_all_wait_while_too_much_waits_for_the_journal(self) -> None:
        clients = [await self.greet() for _ in range(4)]
        held = HeldJournal(self.service._parts.intake)
        for n in range(50):
            for client in clients:
                client.say(payload(event(n, text="x" * 10 * KIB)))
        await self.until(lambda: self.reading() == 0)
        self.assertLess(sum(len(entry.message) for entry in held.entries), 900 * KIB)
        held.let_go()
        for client in clients:
            self.assertEqual([(await client.hear())["statusCode"] for _ in range(50)], ["201"] * 50)
        self.assertEqual(len(self.stored()), 200)
        self.assertEqual(self.reading(), 4)

    def reading(self) -> int:
        return sum(is_read(socket.transport) for socket in self.service._sockets)


class UnreadAnswersTests(FlowTestCase):
    limits = Limits(ping_interval=0, drain_timeout=0.2)

    async def test_a_client_that_does_not_read_is_not_read_from(self) -> None:
        """Each payload is answered with an exact copy of its bad event: answers as large as the questions."""
        client = await self.greet()
        self.patch(logui04, "HITS", 10**9)
        bystander = await self.greet()
        (mine,) = (s for s in self.service._sockets if s.conversation._opened.session.id == client.session)
        client.socket.pause_reading()
        question = json.dumps(payload({"text": "x" * 50 * KIB})).encode()
        sent = 400
        for _ in range(sent):
            client.socket.send(question)
        await self.until(lambda: "unread answers" in mine._held)
        self.assertFalse(is_read(mine.transport))
        waiting = mine.transport.dataBuffer, mine.transport._tempDataLen
        self.assertLess(len(waiting[0]) + waiting[1], 1024 * KIB)
        self.assertEqual((await bystander.events(1))["statusCode"], "201")
        client.socket.resume_reading()
        for _ in range(sent):
            self.assertEqual((await client.hear())["statusCode"], "403")
        self.assertEqual((await client.events(1))["statusCode"], "201")
        self.assertTrue(is_read(mine.transport))

    async def test_the_server_hangs_up_on_it(self) -> None:
        """What was on its way to it still arrives, and what it sends as well."""
        self.patch(websocket, "CLOSE_TIMEOUT", 3600)
        client = await self.greet()
        client.socket.pause_reading()
        mine, answers = self.the_socket(), 20
        # More than the system itself would hold for a client.
        mine.transport.write(frame(b"x" * KIB * KIB, masked=False) * answers)
        await self.until(lambda: "unread answers" in mine._held)
        mine.close(Close(None))
        client.say(payload(1))
        await self.until(lambda: self.service._parts.intake.stored_events)
        client.socket.resume_reading()
        for _ in range(answers):
            await client.socket.receive()
        end = await client.end()
        self.assertEqual((end.code, end.clean), (1006, False))

    async def test_the_next_client_is_served_while_one_sends_without_end(self) -> None:
        flood, client = await self.greet(), await self.greet()
        text = "x" * 100
        for n in range(3_000):
            flood.say(payload(event(n, text=text)))
        for n in range(20):
            self.assertEqual((await client.events(n))["statusCode"], "201")
        for _ in range(3_000):
            self.assertEqual((await flood.hear())["statusCode"], "201")
        self.assertEqual([s for s, _, _ in self.stored(flood.session)], list(range(1, 3_001)))


class OneReadTests(ServedTestCase):
    """A read of some kilobytes may hold a hundred megabytes, once they are inflated."""

    async def test_no_more_is_taken_of_it_than_may_be_unacknowledged(self) -> None:
        client = await self.greet_compressed()
        journal, held = self.service._parts.intake, []
        passed, journal._append = journal._append, held.append
        count = 20
        for number in range(1, count + 1):
            client.say(payload({"clientDateTime": 1, "text": " " * 2_000_000}, payloadID=number))
        await self.until(lambda: held)
        other = await self.connect()
        other.say(self.hello())
        # Whatever the first brought in the same read would be there before the other is heard.
        await self.until(lambda: any(entry.kind is Kind.OPENED for entry in held))
        self.assertEqual(len([entry for entry in held if entry.kind is Kind.EVENTS]), 1)
        journal._append = passed
        for entry in held:
            passed(entry)
        answers = [await client.hear() for _ in range(count)]
        self.assertEqual([answer["payloadID"] for answer in answers], list(range(1, count + 1)))
        self.assertEqual({answer["statusCode"] for answer in answers}, {"201"})

    async def greet_compressed(self) -> Client:
        client = await self.connect(compress=True)
        self.assertEqual((await client.ask(self.hello()))["statusCode"], "200")
        return client
