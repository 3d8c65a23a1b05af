"""PROTOCOL, section 3, LISTEN: which tickets open a socket, over real connections."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from contextlib import closing
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread

from logui_tx.model import Flight
from logui_tx.registry.live import LiveRegistry
from logui_tx.registry.signing import Signature
from logui_tx.web.client import UpgradeRefused
from tests.integration.visitors import ORIGIN, START, VisitedTestCase, move


class TicketTests(VisitedTestCase):
    async def test_works_once(self) -> None:
        ticket = await self.ticket()
        await self.enter(ticket)
        for _ in range(2):
            self.assertEqual(await self.refused(ticket), 403)

    async def test_two_at_once(self) -> None:
        """Exactly one wins."""
        for _ in range(5):
            ticket = await self.ticket()
            outcomes = await DeferredList(
                [Deferred.fromCoroutine(self.enter(ticket)) for _ in range(4)], consumeErrors=True
            )
            lost = [outcome.value for won, outcome in outcomes if not won]
            self.assertEqual([why.status for why in lost if isinstance(why, UpgradeRefused)], [403] * 3)

    async def test_in_time(self) -> None:
        await self.restart(ticket_ttl=0.001)
        ticket = await self.ticket()
        late = reactor.seconds() + 0.002
        await self.until(lambda: reactor.seconds() > late)
        self.assertEqual(await self.refused(ticket), 403)

    async def test_another_origin(self) -> None:
        for origin in ("http://localhost", "https://localhost:3000", None, "null", "\xff"):
            self.assertEqual(await self.refused(await self.ticket(), origin=origin), 403)
        # Who guesses does not use it up.
        ticket = await self.ticket()
        self.assertEqual(await self.refused(ticket, origin=None), 403)
        await self.enter(ticket)

    async def test_forged(self) -> None:
        ticket = await self.ticket()
        other = Signature(lambda: ("another key",), b"logui-tx.kraken-ticket")
        forged = other.sign(["id", self.flight.id, ORIGIN, "visitor", 2**53, True])
        for wrong in (
            "",
            "x",
            ticket[:-1],
            "A" + ticket,
            ticket + "A",
            self.token,
            forged,
            "%00",
            "%ff",
            "a" * 9000,
        ):
            self.assertEqual(await self.refused(wrong), 403)
        self.assertEqual(await self.refused(f"{ticket}&ticket={ticket}"), 403)
        for path in ("/kraken/socket", "/kraken/socket?t=1", "/kraken/socket/?"):
            with self.assertRaises(UpgradeRefused) as caught:
                await self.connect(path, origin=ORIGIN)
            self.assertIn(caught.exception.status, (403, 404))
        await self.enter(ticket)

    async def test_it_says_why(self) -> None:
        def ask() -> bytes:
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
                headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": ORIGIN}
                connection.request("GET", "/kraken/socket?ticket=x", headers=headers)
                return connection.getresponse().read()

        self.assertEqual(await deferToThread(ask), b"The ticket was not issued by this server.\n")

    async def test_after_a_restart_a_ticket_is_lost(self) -> None:
        """The memory store forgets it: whether it was used nobody knows."""
        ticket = await self.ticket()
        await self.restart()
        self.assertEqual(await self.refused(ticket), 403)


class VisitorTests(VisitedTestCase):
    async def visitor(self, ticket: str, **headers: str) -> str | None:
        """Whom the session is of."""
        client = await self.enter(ticket, **headers)
        client.say(START)
        await client.ask([])
        return self.sessions()[-1].visitor_id

    async def test_with_and_without_a_cookie(self) -> None:
        first = await self.init()
        visitor = await self.visitor(first.json["ticket"], Cookie=first.cookie)
        self.assertIsNotNone(visitor)
        again = await self.ticket(Cookie=first.cookie)
        self.assertEqual(await self.visitor(again), visitor)
        self.assertNotEqual(await self.visitor(await self.ticket()), visitor)

    async def test_another_visitors_cookie(self) -> None:
        mine, other = await self.init(), await self.init()
        self.assertEqual(await self.refused(mine.json["ticket"], Cookie=other.cookie), 403)

    async def test_a_cookie_that_was_tampered_with_is_none(self) -> None:
        mine = await self.init()
        await self.enter(mine.json["ticket"], Cookie=mine.cookie + "A")


class FlightTests(VisitedTestCase):
    """What became of the flight since the ticket was issued."""

    async def assert_refused_after(self, change: Callable[[], object]) -> None:
        ticket = await self.ticket()
        change()
        self.service._parts.registry._known.clear()
        self.assertEqual(await self.refused(ticket), 403)

    async def test_disabled(self) -> None:
        await self.assert_refused_after(lambda: self.registry.set_active(self.flight.id, False))

    async def test_deleted(self) -> None:
        await self.assert_refused_after(lambda: self.registry.delete_flight(self.flight.id))

    async def test_the_listeners_are_the_flights(self) -> None:
        find = LiveRegistry.find_flight

        def find_with_few(live: LiveRegistry, flight_id: str) -> Deferred[Flight]:
            return find(live, flight_id).addCallback(evolve, listeners=("mousemove",), metadata='{"a": [1]}')

        self.patch(LiveRegistry, "find_flight", find_with_few)
        answer = await self.init()
        self.assertEqual(answer.json["meta"]["listeners"], ["mousemove"])
        self.assertEqual(answer.json["meta"]["metadata"], {"a": [1]})
        client = await self.enter(answer.json["ticket"])
        client.say(START)
        self.assertEqual(await client.ask(move(1)), {"type": "ack", "stored": 1})
        said = await client.ask([move(2), move(3, type=0)])
        self.assertEqual((said["code"], said["position"]), (403, 1))
        self.assertIn("mouseclick", said["message"])
        self.assertEqual(await client.ask(move(4)), {"type": "ack", "stored": 2})


class WaitingTests(VisitedTestCase):
    """While the store is asked about a ticket the world goes on."""

    def hold(self) -> list[Deferred[None]]:
        """From now on the store answers when the test says so."""
        waiting: list[Deferred[None]] = []
        kind = type(self.service._parts.store)
        take = kind.take_ticket

        def take_later(*args: Any) -> Deferred[bool]:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: take(*args))

        self.patch(kind, "take_ticket", take_later)
        return waiting

    async def test_several_in_any_order(self) -> None:
        tickets = [(await self.init()).json["ticket"] for _ in range(3)]
        waiting = self.hold()
        entering = []
        for number, ticket in enumerate(tickets):
            entering.append(Deferred.fromCoroutine(self.enter(ticket, User_Agent=f"agent {number}")))
            await self.until(lambda number=number: len(waiting) == number + 1)
        for number in (2, 0, 1):
            waiting[number].callback(None)
        for number, entered in enumerate(entering):
            client = await entered
            client.say(START)
            client.say([move(number)])
            await client.hear()
        stored = {session.visitor_id for session in self.sessions()}
        self.assertEqual((len(stored), self.service._gate.connections), (3, 3))

    async def test_who_goes_meanwhile(self) -> None:
        ticket = await self.ticket()
        waiting = self.hold()
        entering = Deferred.fromCoroutine(self.enter(ticket))
        await self.until(lambda: waiting)
        gone: Deferred[None] = waiting[0]
        entering.addErrback(lambda _: None)
        entering.cancel()
        await self.until(lambda: gone.called)
        self.assertEqual(self.service._gate.connections, 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_full_server(self) -> None:
        await self.restart(max_connections_per_address=1)
        tickets = [await self.ticket() for _ in range(2)]
        waiting = self.hold()
        entering = [Deferred.fromCoroutine(self.enter(ticket)) for ticket in tickets]
        await self.until(lambda: len(waiting) == 2)
        for each in waiting:
            each.callback(None)
        outcomes = await DeferredList(entering, consumeErrors=True)
        self.assertEqual(sorted(won for won, _ in outcomes), [False, True])
        self.assertEqual([why.value.status for won, why in outcomes if not won], [429])

    async def test_a_server_that_stops(self) -> None:
        ticket = await self.ticket()
        waiting = self.hold()
        entering = Deferred.fromCoroutine(self.refused(ticket))
        await self.until(lambda: waiting)
        self.service._stopping = True
        waiting[0].callback(None)
        self.assertEqual(await entering, 503)
        self.service._stopping = False

    async def test_a_store_that_fails(self) -> None:
        ticket = await self.ticket()
        waiting = self.hold()
        entering = Deferred.fromCoroutine(self.refused(ticket))
        await self.until(lambda: waiting)
        waiting[0].errback(ZeroDivisionError())
        self.assertEqual(await entering, 503)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
