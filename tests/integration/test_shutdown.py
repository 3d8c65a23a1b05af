"""PROTOCOL, section 1, *Server shutdown*: announced, drained, ended, and nothing promised is lost."""

from __future__ import annotations

import sqlite3

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import deferLater

from logui_tx import service
from logui_tx.model import Flight, Limits
from logui_tx.web.client import Closed
from tests.integration.served import PATH, Client, ServedTestCase, payload
from tests.integration.test_hostile_input import frame

ANNOUNCEMENT = {"responseType": "LogUIServerShutdown", "statusCode": "501"}


class ShutdownTestCase(ServedTestCase):
    # Longer than any test may take: what ends the wait is the clients' going, or the operator's hurry.
    limits = Limits(drain_timeout=3600)
    stopped: Deferred[None] = succeed(None)

    def begin_stop(self) -> None:
        self.stopped: Deferred[None] = self.service.stopService()

    def hurry(self) -> None:
        """A second signal."""
        self.service.stop_or_hurry(lambda: self.fail("the server has begun to stop already"))

    async def tearDown(self) -> None:
        while not self.stopped.called:
            if self.service._enough is not None:
                self.hurry()
            await deferLater(reactor, 0)

    async def announced(self, *clients: Client) -> None:
        for client in clients:
            self.assertEqual(await client.hear(), ANNOUNCEMENT)


class AnnouncementTests(ShutdownTestCase):
    async def test_every_listening_client_gets_501_and_then_1001(self) -> None:
        clients = [await self.greet() for _ in range(5)]
        self.begin_stop()
        await self.announced(*clients)
        self.hurry()
        for client in clients:
            end = await client.end()
            self.assertEqual((end.code, end.clean), (1001, True))
        await self.stopped
        for client in clients:
            session = self.session(client.session)
            self.assertEqual(session.end_reason, "serverShutdown")
            self.assertIsNotNone(session.ended_at)

    async def test_the_drain_ends_by_itself(self) -> None:
        await self.stop()
        self.limits = Limits(drain_timeout=0.05)
        self.start()
        client = await self.greet()
        self.begin_stop()
        await self.announced(client)
        self.assertEqual((await client.end()).code, 1001)
        await self.stopped

    async def test_who_has_not_shaken_hands_gets_400(self) -> None:
        silent = await self.connect()
        self.begin_stop()
        answer = await silent.hear()
        self.assertEqual((answer["responseType"], answer["statusCode"]), ("LogUIHandshakeError", "400"))
        self.assertEqual(
            answer["errorDetails"], {"errorString": "The server is shutting down.", "terminate": True}
        )
        self.assertEqual((await silent.end()).code, 1008)
        await self.stopped
        self.assertEqual(self.sessions(), [])

    async def test_who_is_shaking_hands_gets_400(self) -> None:
        """And no session begins that might not be ended any more."""
        client = await self.connect()
        asked: list[tuple[Deferred[Flight], str]] = []

        def find_later(flight: str) -> Deferred[Flight]:
            asked.append((Deferred(), flight))
            return asked[0][0]

        registry = self.service._parts.registry
        find, registry.find_flight = registry.find_flight, find_later
        client.say(self.hello())
        await self.until(lambda: asked)
        self.begin_stop()
        self.assertEqual((await client.hear())["statusCode"], "400")
        (answer, flight) = asked[0]
        find(flight).chainDeferred(answer)
        self.assertEqual((await client.end()).code, 1008)
        await self.stopped
        self.assertEqual(self.sessions(), [])

    async def test_without_clients_it_stops_at_once(self) -> None:
        self.begin_stop()
        await self.stopped

    async def test_stopping_twice_changes_nothing(self) -> None:
        client = await self.greet()
        self.begin_stop()
        await self.announced(client)
        await self.service.stopService()
        self.assertEqual((await client.events(1))["statusCode"], "201")


class DrainTests(ShutdownTestCase):
    async def test_payloads_are_still_stored_and_acknowledged(self) -> None:
        client = await self.greet()
        await client.events(1, payloadID=1)
        self.begin_stop()
        await self.announced(client)
        for n in range(2, 6):
            self.assertEqual((await client.events(n, payloadID=n))["payloadID"], n)
        change = {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": {"a": 1}}
        self.assertEqual((await client.ask(change))["statusCode"], "201")
        self.assertEqual((await client.events(None))["statusCode"], "403")
        self.assertEqual((await client.events(6))["statusCode"], "201")
        self.hurry()
        self.assertEqual((await client.end()).code, 1001)
        await self.stopped
        self.assertEqual([e["n"] for _, e, _ in self.stored()], [1, 2, 3, 4, 5, 6])

    async def test_what_is_in_flight_at_the_end_is_acknowledged_before_1001(self) -> None:
        client = await self.greet()
        self.begin_stop()
        await self.announced(client)
        intake = self.service._parts.intake
        before = intake._in_flight
        for n in range(50):
            client.say(payload(n, payloadID=n + 1))
        await self.until(lambda: intake._in_flight > before or intake.stored_events)
        self.hurry()
        heard = 0
        with self.assertRaises(Closed) as caught:
            while True:
                self.assertEqual((await client.hear())["payloadID"], heard + 1)
                heard += 1
        self.assertEqual(caught.exception.code, 1001)
        await self.stopped
        self.assertGreaterEqual(len(self.stored()), heard)
        self.assertGreater(heard, 0)

    async def test_it_stops_as_soon_as_the_last_client_has_gone(self) -> None:
        one, two = await self.greet(), await self.greet()
        self.begin_stop()
        await self.announced(one, two)
        one.socket.close()
        two.say(payload(1, session="leavingPage"))
        self.assertEqual((await two.end()).code, 1000)
        await self.stopped
        reasons = {session.id: session.end_reason for session in self.sessions()}
        self.assertEqual(reasons, {one.session: "closed", two.session: "leavingPage"})

    async def test_a_fifth_hit_ends_the_connection_while_draining(self) -> None:
        client = await self.greet()
        self.begin_stop()
        await self.announced(client)
        codes = [(await client.ask(b"x"))["statusCode"] for _ in range(5)]
        self.assertEqual(codes, ["401"] * 4 + ["402"])
        self.assertEqual((await client.end()).code, 1008)
        await self.stopped
        self.assertEqual(self.session(client.session).end_reason, "badRequests")

    async def test_new_connections_are_refused(self) -> None:
        client = await self.greet()
        port = self.port
        self.begin_stop()
        await self.announced(client)
        with self.assertRaises(ConnectionRefusedError):
            await self.connect()
        self.assertEqual(self.port, port)

    async def test_a_connection_that_had_not_asked_for_the_upgrade_yet_gets_503(self) -> None:
        early = await connect_tcp(self.port)
        self.addCleanup(early.stop)
        client = await self.greet()
        self.begin_stop()
        await self.announced(client)
        early.transport.write(
            f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".encode()
        )
        self.assertIn(b" 503 ", await early.first_line)

    async def test_a_client_that_does_not_answer_the_close_frame_is_dropped(self) -> None:
        client = await self.greet()
        self.begin_stop()
        await self.announced(client)
        client.socket.pause_reading()
        self.patch(service, "GOODBYE_TIMEOUT", 0.1)
        self.hurry()
        await self.stopped
        self.assertEqual(self.session(client.session).end_reason, "serverShutdown")

    async def test_half_a_message_is_not_waited_for(self) -> None:
        client = await self.greet()
        client.socket.send_raw(frame(b"{" * 200)[:100])
        self.begin_stop()
        await self.announced(client)
        self.hurry()
        self.assertEqual((await client.end()).code, 1001)
        await self.stopped

    async def test_it_stops_while_the_journal_cannot_be_written(self) -> None:
        client = await self.greet()

        def disk_full(entries: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        self.service._parts.journal._commit = disk_full
        self.begin_stop()
        await self.announced(client)
        self.assertEqual((await client.events(1))["statusCode"], "500")
        self.hurry()
        self.assertEqual((await client.end()).code, 1001)
        await self.stopped

    async def test_the_data_folder_is_free_for_the_next_server(self) -> None:
        client = await self.greet()
        await client.events(1)
        self.begin_stop()
        await self.announced(client)
        self.hurry()
        await self.stopped
        self.start()
        again = await self.greet(sessionIdentifier=client.session)
        self.assertEqual(again.session, client.session)


async def connect_tcp(port: int):
    """A bare TCP connection; ``first_line`` fires with what is received first."""
    from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
    from twisted.internet.protocol import Protocol

    class Bare(Protocol):
        def __init__(self) -> None:
            self.first_line: Deferred[bytes] = Deferred()
            self.lost: Deferred[None] = Deferred()

        def dataReceived(self, data: bytes) -> None:
            if not self.first_line.called:
                self.first_line.callback(data)

        def connectionLost(self, reason: object = None) -> None:
            self.lost.callback(None)

        def stop(self) -> Deferred[None]:
            self.transport.abortConnection()
            return self.lost

    return await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Bare())
