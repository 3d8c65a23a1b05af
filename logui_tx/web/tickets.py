"""Tickets: what ``/kraken/init`` gives, and ``/kraken/socket`` takes once (PROTOCOL, section 3)."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from attrs import astuple, frozen
from twisted.internet.interfaces import IReactorTime

from logui_tx.errors import RequestRefused
from logui_tx.interfaces import ISessionStore
from logui_tx.registry.signing import Signature

_SALT = b"logui-tx.kraken-ticket"
_LONGEST = 10_000


@frozen
class Ticket:
    """Who may open a socket: a visitor from an origin, for a flight.

    ``issued`` is in UNIX ms; ``kept`` says whether the session store knows of it.
    """

    id: str
    flight_id: str
    origin: str | None
    visitor_id: str
    issued: int
    kept: bool


class Tickets:
    """Issues and takes them; any server with the same keys and session store takes what another issued."""

    def __init__(
        self, keys: Callable[[], tuple[str, ...]], store: ISessionStore, clock: IReactorTime, ttl: float
    ) -> None:
        self._signature = Signature(keys, _SALT, longest=_LONGEST)
        self._store = store
        self._clock = clock
        self.ttl = ttl

    async def issue(self, flight_id: str, origin: str | None, visitor_id: str) -> str:
        """A ticket as text, good for :attr:`ttl` seconds. A secret: not for logs."""
        ticket_id = str(uuid.uuid4())
        issued = int(self._clock.seconds() * 1000)
        kept = await self._store.keep_ticket(ticket_id, self.ttl)
        return self._signature.sign(astuple(Ticket(ticket_id, flight_id, origin, visitor_id, issued, kept)))

    def read(self, text: str) -> Ticket:
        """A ticket that was issued and is not too old. Raises :class:`RequestRefused`."""
        content = self._signature.read(text)
        if content is None:
            raise RequestRefused(403, "The ticket was not issued by this server.")
        ticket = Ticket(*content)
        if self._clock.seconds() * 1000 > ticket.issued + self.ttl * 1000:
            raise RequestRefused(403, "The ticket's time is over.")
        return ticket

    async def take(self, ticket: Ticket) -> None:
        """Use it, now and never again. Raises :class:`RequestRefused` where it was used before."""
        if not await self._store.take_ticket(ticket.id, ticket.kept, self.ttl):
            raise RequestRefused(403, "The ticket was used already.")
