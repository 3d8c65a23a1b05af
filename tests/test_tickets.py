"""Tickets, with a clock that stands still."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import RequestRefused
from logui_tx.registry.signing import Signature
from logui_tx.stores.memory import MemorySessionStore
from logui_tx.web.tickets import Ticket, Tickets

NOW = 1_795_306_226.5


class TicketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.keys = ("key",)
        self.store = MemorySessionStore(self.clock)
        self.tickets = Tickets(lambda: self.keys, self.store, self.clock, 15.0)

    def issue(self, origin: str | None = "https://a.example") -> str:
        return self.successResultOf(Deferred.fromCoroutine(self.tickets.issue("flight", origin, "visitor")))

    def take(self, text: str) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.tickets.take(self.tickets.read(text))))

    def refused(self, text: str, says: str) -> None:
        error = self.assertRaises(RequestRefused, self.take, text)
        self.assertEqual(error.status, 403)
        self.assertIn(says, str(error))

    def test_what_it_says(self) -> None:
        ticket = self.tickets.read(self.issue())
        self.assertEqual(
            ticket, Ticket(ticket.id, "flight", "https://a.example", "visitor", int(NOW * 1000), True)
        )
        self.assertIsNone(self.tickets.read(self.issue(None)).origin)
        self.assertNotEqual(self.tickets.read(self.issue()).id, ticket.id)

    def test_once(self) -> None:
        text = self.issue()
        self.take(text)
        again = Deferred.fromCoroutine(self.tickets.take(self.tickets.read(text)))
        self.assertEqual(self.failureResultOf(again, RequestRefused).value.status, 403)

    def test_in_time(self) -> None:
        early, late = self.issue(), self.issue()
        self.clock.advance(14.9)
        self.take(early)
        self.clock.advance(0.2)
        self.refused(late, "time is over")

    def test_on_another_server(self) -> None:
        """With the same keys and store; its clock may be a little behind."""
        clock = Clock()
        clock.advance(NOW - 5)
        other = Tickets(lambda: ("newer", "key"), self.store, clock, 15.0)
        self.assertEqual(other.read(self.issue()).visitor_id, "visitor")

    def test_forged(self) -> None:
        text = self.issue()
        content = ["id", "flight", None, "visitor", int(NOW * 1000), True]
        for wrong in (
            "",
            "\ud800",
            text[:-1],
            text + "=",
            "x" * 100_000,
            Signature(lambda: ("other",), b"logui-tx.kraken-ticket").sign(content),
            Signature(lambda: self.keys, b"logui-tx.flight-token").sign(content),
        ):
            self.refused(wrong, "not issued")
        self.keys = ("new",)
        self.refused(text, "not issued")

    def test_the_longest_origin(self) -> None:
        origin = "\U0001f600\u0100" * 500
        self.assertEqual(self.tickets.read(self.issue(origin)).origin, origin)

    def test_one_that_the_store_did_not_keep(self) -> None:
        asked = []

        class Away(MemorySessionStore):
            def keep_ticket(self, ticket_id, ttl):
                return succeed(False)

            def take_ticket(self, ticket_id, kept, ttl):
                asked.append((kept, ttl))
                return succeed(True)

        self.tickets = Tickets(lambda: self.keys, Away(self.clock), self.clock, 15.0)
        self.take(self.issue())
        self.assertEqual(asked, [(False, 15.0)])
