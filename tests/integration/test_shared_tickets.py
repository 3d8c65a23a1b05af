"""PROTOCOL, section 3, *LISTEN*: a ticket on servers that share a Redis, also while it is away."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList

from tests.integration.two_servers import TwoServersTestCase
from tests.integration.visitors import START, VisitedTestCase, move


class SharedTicketTestCase(TwoServersTestCase, VisitedTestCase):
    def at(self, name: str) -> None:
        """What follows happens at this server."""
        self.port, self.service = self.ports[name], self.services[name]

    async def ticket_at(self, name: str, **headers: str | None) -> str:
        self.at(name)
        return await self.ticket(**headers)

    async def refused_at(self, name: str, ticket: str, **more: Any) -> int:
        self.at(name)
        return await self.refused(ticket, **more)


class TicketTests(SharedTicketTestCase):
    async def test_used_at_the_other_server_once(self) -> None:
        ticket = await self.ticket_at("a")
        self.at("b")
        client = await self.enter(ticket)
        client.say(START)
        client.say([move(1), move(2)])
        self.assertEqual(await client.hear(), {"type": "ack", "stored": 2})
        self.assertEqual([await self.refused_at(name, ticket) for name in "aba"], [403, 403, 403])

    async def test_used_here_it_is_used_there(self) -> None:
        ticket = await self.ticket_at("a")
        await self.enter(ticket)
        self.assertEqual([await self.refused_at(name, ticket) for name in "bab"], [403, 403, 403])

    async def test_both_at_once(self) -> None:
        for _ in range(10):
            ticket = await self.ticket_at("a")
            asked = []
            for name in "abab":
                self.at(name)
                asked.append(Deferred.fromCoroutine(self.enter(ticket)))
            outcomes = await DeferredList(asked, consumeErrors=True)
            self.assertEqual(sum(won for won, _ in outcomes), 1)

    async def test_what_is_wrong_is_wrong_there_too_and_uses_nothing_up(self) -> None:
        self.at("a")
        other = (await self.init()).cookie
        mine = await self.init()
        ticket = mine.json["ticket"]
        self.assertEqual(await self.refused_at("b", ticket, origin="http://localhost:4000"), 403)
        self.assertEqual(await self.refused_at("b", ticket, Cookie=other), 403)
        self.assertEqual(await self.refused_at("b", ticket[:-2] + "xx"), 403)
        self.at("b")
        await self.enter(ticket, Cookie=mine.cookie)


class ShortTicketTests(SharedTicketTestCase):
    limits = evolve(SharedTicketTestCase.limits, ticket_ttl=0.2)

    async def test_late(self) -> None:
        ticket = await self.ticket_at("a")
        # Redis itself has forgotten it, when its time is over.
        await self.until(lambda: "ticket" not in self.redis.cli("keys", "*"))
        self.assertEqual([await self.refused_at(name, ticket) for name in "ba"], [403, 403])


class AwayTests(SharedTicketTestCase):
    async def away(self) -> None:
        self.silence()
        for service in self.services.values():
            store = service._parts.store
            await self.until(lambda store=store: store.away is not None)

    async def back(self) -> None:
        self.speech()
        await self.ready()

    async def test_issued_and_used_while_away(self) -> None:
        await self.away()
        used, left = await self.ticket_at("a"), await self.ticket_at("a")
        await self.enter(used)
        self.assertEqual(await self.refused_at("a", used), 403)
        await self.back()
        self.assertEqual([await self.refused_at(name, used) for name in "ba"], [403, 403])
        self.at("b")
        await self.enter(left)
        self.assertEqual([await self.refused_at(name, left) for name in "ba"], [403, 403])

    async def test_issued_before_and_used_while_away(self) -> None:
        ticket = await self.ticket_at("a")
        await self.away()
        self.at("b")
        await self.enter(ticket)
        self.assertEqual(await self.refused_at("b", ticket), 403)
        await self.back()
        self.assertEqual([await self.refused_at(name, ticket) for name in "ab"], [403, 403])
