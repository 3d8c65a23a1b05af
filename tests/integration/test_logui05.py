"""PROTOCOL, section 2: how the server ends a connection, and which clients come back."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from logui_tx import service
from logui_tx.errors import RegistryError
from logui_tx.model import Flight, Limits
from logui_tx.web import websocket
from logui_tx.web.client import UpgradeRefused
from tests.integration.logui05 import ORIGIN, LogUI05TestCase, items_of
from tests.integration.served import Client
from tests.integration.test_hostile_input import frame
from tests.logui05 import ITEM, MISSING, events, handshake, item, message

KIB = 1024
ABNORMAL = 1006


def numbered(first: int, count: int, **more: Any) -> list[Any]:
    return [item(eventDetails={"n": n}, **more) for n in range(first, first + count)]


class CodeTests(LogUI05TestCase):
    domains = ("localhost", "other.example")

    async def refused(self, code: int, told: Any, says: str = "", origin: str | None = ORIGIN) -> None:
        client = await self.open(origin=origin)
        client.say(told)
        end = await client.end()
        self.assertEqual((end.code, end.clean), (code, True), end)
        self.assertIn(says, end.reason)
        self.assertEqual(self.sessions(), [])

    def hello(self, **changes: Any) -> Any:
        return handshake(changes.pop("token", self.token), **changes)

    async def test_each_code(self) -> None:
        await self.refused(4001, b"?")
        await self.refused(4001, events(ITEM))
        await self.refused(4002, self.hello(userAgent=MISSING), "userAgent")
        await self.refused(4003, self.hello(clientVersion="0.4.0"), "version")
        await self.refused(4004, self.hello(token=self.token[:-1]))
        await self.refused(4005, self.hello(), origin="https://evil.example")
        await self.refused(4005, self.hello(pageOrigin="https://other.example"))
        await self.refused(4005, self.hello(pageOrigin="https://evil.example"), origin=None)
        await self.refused(4006, self.hello(sessionID=5))
        self.registry.set_active(self.flight.id, False)
        await deferLater(reactor, 0.6)  # as old as the registry's answers may be
        await self.refused(4007, self.hello())

    async def test_the_first_cause_counts(self) -> None:
        """Everything is wrong; then, one by one, it is not."""
        self.registry.set_active(self.flight.id, False)
        wrong: dict[str, Any] = {
            "clientTimestamp": MISSING,
            "clientVersion": "9",
            "token": "bad",
            "pageOrigin": "http://evil.example",
            "sessionID": [],
        }
        await self.refused(4001, {**self.hello(**wrong), "type": "handShake"})
        for code, fault in zip(range(4002, 4008), [*wrong, None], strict=True):
            await self.refused(code, self.hello(**wrong))
            wrong.pop(fault or "", None)

    async def test_strict_sessions(self) -> None:
        self.registry.change_flight(self.flight.id, strict_sessions=True)
        for session in ("5cdfc67b-52a7-4c14-b743-a2f999ba546e", "", "x" * 9000):
            await self.refused(4006, self.hello(sessionID=session), "unknown or expired")
        self.registry.set_active(self.flight.id, False)
        await deferLater(reactor, 0.6)  # as old as the registry's answers may be
        await self.refused(4006, self.hello(sessionID="unknown"))
        await self.refused(4007, self.hello(sessionID=None))
        self.registry.set_active(self.flight.id, True)
        await deferLater(reactor, 0.6)
        client = await self.greet()
        await self.go(client)
        self.assertFalse((await self.greet(client.session)).welcome["payload"]["newSessionCreated"])

    async def test_a_flight_that_is_gone(self) -> None:
        self.registry.delete_flight(self.flight.id)
        await self.refused(4004, self.hello())

    async def test_a_bad_message_later(self) -> None:
        for bad in (b"?", events(ITEM, 5), handshake(self.token), message("logEvents", [])):
            client = await self.greet()
            client.say(events(*numbered(0, 10)))
            client.say(bad)
            self.assertEqual((await client.end()).code, 4001)
            session = await self.ended(client.session)
            self.assertEqual((session.events, session.end_reason), (10, "badRequests"))

    async def test_invalid_utf8_closes_1007(self) -> None:
        client = await self.greet()
        client.say(b'"\xff"')
        self.assertEqual((await client.end()).code, 1007)

    async def test_closedown(self) -> None:
        client = await self.greet()
        client.say(message("closedown"))
        self.assertEqual((await client.end()).code, 1000)
        self.assertEqual((await self.ended(client.session)).end_reason, "closed")


class SessionTests(LogUI05TestCase):
    domains = ("*",)

    async def test_an_unknown_or_expired_session_gets_a_new_one(self) -> None:
        await self.stop()
        self.limits = Limits(drain_timeout=0.2, resume_window=0)
        self.start()
        client = await self.greet()
        client.say(events(ITEM))
        await self.go(client)
        ended = await self.ended(client.session)
        await self.until(lambda: self.service._parts.intake.now() > ended.last_activity)
        for unknown in ("5cdfc67b-52a7-4c14-b743-a2f999ba546e", "", "\u20ac", "x" * 9000, ended.id):
            again = await self.greet(unknown)
            self.assertTrue(again.welcome["payload"]["newSessionCreated"])
            self.assertNotEqual(again.session, unknown)

    async def test_it_goes_on_after_stopped(self) -> None:
        client = await self.greet()
        client.say(events(*numbered(0, 3)))
        await self.go(client)
        await self.ended(client.session)
        again = await self.greet(client.session)
        self.assertEqual(again.welcome["payload"], {**client.welcome["payload"], "newSessionCreated": False})
        again.say(events(*numbered(3, 2)))
        again.socket.close(1001)
        session = await self.ended(client.session)
        self.assertEqual((session.events, session.end_reason), (5, "closed"))
        self.assertEqual([seq for seq, _, _ in self.stored()], [1, 2, 3, 4, 5])

    async def test_a_backlog_and_an_empty_batch(self) -> None:
        client = await self.greet(compress=True)
        frames = [events(*numbered(0, 1_000)), events(), events(*numbered(1_000, 10))]
        for told in frames:
            client.say(told)
        await self.go(client)
        await self.ended(client.session)
        sent = [one for told in frames for one in items_of(json.dumps(told).encode())]
        records = await self.export()
        self.assertEqual([record["event"] for record in records], sent)
        self.assertEqual([int(record["seq"]) for record in records], list(range(1, 1_011)))

    async def test_odd_custom_events(self) -> None:
        client = await self.greet()
        details = [None, MISSING, "\ud800", {"$set": {"a.b": 1}, "": "\0"}, "x" * 70_000, [], 1e308]
        told = events(*[item(eventDetails=each) for each in details])
        client.say(told)
        client.say(events(item(eventDetails="\udfff" * 20_000)))
        await self.go(client)
        await self.ended(client.session)
        records = await self.export()
        self.assertEqual([r["event"] for r in records[:-1]], items_of(json.dumps(told).encode()))
        self.assertEqual(json.loads(records[-1]["event"])["eventDetails"], "\udfff" * 20_000)

    async def test_a_page_without_an_origin(self) -> None:
        for origin in ("null", None):
            client = await self.open(origin=origin)
            await self.shake_hands(client, pageOrigin="null")


class ComeBackTests(LogUI05TestCase):
    """No close frame wherever the client has done nothing wrong."""

    limits = Limits(
        drain_timeout=3600,
        max_message_size=200 * KIB,
        max_events=100,
        handshake_timeout=3600,
        ping_interval=0,
    )

    async def comes_back(self, client: Client) -> None:
        end = await client.end()
        self.assertEqual((end.code, end.clean), (ABNORMAL, False), end)

    async def test_a_message_past_the_size_limit(self) -> None:
        for compress in (False, True):
            client = await self.greet(compress=compress)
            client.say(events(ITEM))
            client.say(events(item(eventDetails="x" * 200 * KIB)))
            await self.comes_back(client)
            session = await self.ended(client.session)
            self.assertEqual((session.events, session.end_reason), (1, "badRequests"))
            again = await self.greet(client.session)
            self.assertFalse(again.welcome["payload"]["newSessionCreated"])

    async def test_too_many_items(self) -> None:
        client = await self.greet()
        client.say(events(*[ITEM] * 101))
        await self.comes_back(client)
        self.assertEqual((await self.ended(client.session)).events, 0)

    async def test_no_handshake_in_time(self) -> None:
        await self.stop()
        self.limits = Limits(handshake_timeout=0.05, drain_timeout=0.2)
        self.start()
        await self.comes_back(await self.open())

    async def test_the_registry_is_away(self) -> None:
        def find(flight_id: str) -> Deferred[Flight]:
            raise RegistryError("away")

        self.patch(self.service._parts.registry, "find_flight", find)
        client = await self.open()
        client.say(handshake(self.token))
        await self.comes_back(client)

    async def test_a_stop(self) -> None:
        """At once: they could not be told, and what they send meanwhile would be for nothing if it were not
        taken. It waits for no one else."""
        silent, client = await self.open(), await self.greet()
        client.say(events(*numbered(0, 10)))
        stopped = self.service.stopService()
        await self.comes_back(silent)
        await self.comes_back(client)
        await stopped
        session = self.session(client.session)
        self.assertEqual((session.events, session.end_reason), (10, "serverShutdown"))

    async def test_what_was_sent_before_the_client_noticed_is_stored(self) -> None:
        client = await self.greet()
        # It neither answers the end of the server's half nor stops sending.
        client.socket.pause_reading()
        stopped = self.service.stopService()
        (server,) = self.service._sockets
        await self.until(lambda: server.transport._writeDisconnected)
        for n in range(20):
            client.say(events(*numbered(10 * n, 10)))
        await self.until(lambda: self.service._parts.intake.stored_events == 200)
        client.socket.resume_reading()
        await self.comes_back(client)
        await stopped
        self.assertEqual(self.session(client.session).events, 200)
        self.assertEqual([e["eventDetails"]["n"] for _, e, _ in self.stored()], list(range(200)))

    async def test_who_does_not_go_is_dropped(self) -> None:
        self.patch(websocket, "CLOSE_TIMEOUT", 0.05)
        client = await self.greet()
        client.socket.pause_reading()
        await self.service.stopService()
        self.assertEqual(self.session(client.session).end_reason, "serverShutdown")
        client.socket.abort()

    async def test_frames_after_the_server_hung_up(self) -> None:
        """Nothing more is said, whatever it says."""
        client = await self.greet()
        client.socket.pause_reading()
        stopped = self.service.stopService()
        for raw in (frame(b"", opcode=9), frame(b"?"), frame(b"", opcode=3)):
            client.socket.send_raw(raw)
        client.socket.resume_reading()
        await self.comes_back(client)
        await stopped


class StopTests(LogUI05TestCase):
    async def test_who_does_not_go_is_hung_up_on_once(self) -> None:
        """Also where the drain ends before its time is over: nothing of it is left behind."""
        self.patch(service, "GOODBYE_TIMEOUT", 0.05)
        client = await self.greet()
        client.socket.pause_reading()
        await self.stop()
        self.assertEqual(self.session(client.session).end_reason, "serverShutdown")
        client.socket.abort()


class OverloadTests(LogUI05TestCase):
    limits = Limits(max_connections=2, drain_timeout=0.2)

    async def test_503(self) -> None:
        clients = [await self.greet() for _ in range(2)]
        with self.assertRaises(UpgradeRefused) as caught:
            await self.open()
        self.assertEqual(caught.exception.status, 503)
        await self.go(clients[0])
        await self.until(lambda: self.service._gate.connections == 1)
        await self.greet()

    async def test_other_paths(self) -> None:
        for path in ("/ws/", "/ws/endpoint/x", "/ws/endpoint/0.5.4/"):
            with self.assertRaises(UpgradeRefused) as caught:
                await self.connect(path)
            self.assertEqual(caught.exception.status, 404)
        await self.open()
        await self.connect("/ws/endpoint/?label=full", origin=ORIGIN)
