"""How a visitor comes in to DataKraken: ``POST /kraken/init`` for a ticket, which the socket takes.

PROTOCOL, section 3. What is said on the socket is the dialect's (``dialects/kraken.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from logui_tx.errors import HandshakeRefused, Refusal, RegistryError, RequestRefused
from logui_tx.interfaces import IRegistry
from logui_tx.model import Connection, Flight, Hello
from logui_tx.options import Network
from logui_tx.registry.admission import Admission
from logui_tx.web.rate import Rate
from logui_tx.web.request import address_of, header, host_of, is_secure
from logui_tx.web.same_site import is_same_site
from logui_tx.web.tickets import Tickets
from logui_tx.web.visitors import Visitors

log = Logger()

MAX_ORIGIN = 1_000
"""Characters of an ``Origin`` header; no browser sends so many."""
PREFLIGHT_AGE = 600
"""Seconds for which a browser need not ask again whether it may ask."""


class _Init(msgspec.Struct):
    token: str


_read_init = msgspec.json.Decoder(_Init).decode


@frozen
class TicketDesk:
    """What the two steps share. ``trusted`` are the proxies whose word counts; ``closing`` says whether the
    server stops."""

    registry: IRegistry
    admission: Admission
    tickets: Tickets
    visitors: Visitors
    rate: Rate
    trusted: Sequence[Network]
    closing: Callable[[], bool]

    async def enter(self, request: Request, connection: Connection) -> tuple[Connection, Flight]:
        """Take the ticket of a socket's request: who it is, by whom it was issued, for what flight.

        Raises :class:`RequestRefused`, or what the registry or the store failed with.
        """
        words = request.args.get(b"ticket", [])
        if len(words) != 1:
            raise RequestRefused(403, "The address must bear one ticket: ?ticket=...")
        ticket = self.tickets.read(words[0].decode("ascii", "replace"))
        if connection.origin != ticket.origin:
            raise RequestRefused(403, "The ticket was issued to a page of another origin.")
        visitor = self.visitors.known(request)
        if visitor is not None and visitor != ticket.visitor_id:
            raise RequestRefused(403, "The ticket was issued to another visitor.")
        try:
            flight = await self.admission.readmit(ticket.flight_id, ticket.origin)
        except HandshakeRefused as why:
            raise RequestRefused(403, str(why)) from None
        await self.tickets.take(ticket)
        return evolve(connection, visitor_id=ticket.visitor_id), flight


class InitPage(Resource):
    """``/kraken/init``: a flight's token for a ticket."""

    def __init__(self, desk: TicketDesk) -> None:
        Resource.__init__(self)
        self._desk = desk

    def getChild(self, path: bytes, request: Request) -> IResource:
        return self if path == b"" and request.postpath == [] else notFound()

    def render(self, request: Request) -> int:
        """Any method: the answer is JSON, whatever it says."""
        request.setHeader("Vary", "Origin")
        finished = request.notifyFinish()
        answering = Deferred.fromCoroutine(self._answer(request))
        # A client that does not wait for the answer gets none.
        finished.addErrback(lambda _gone: answering.cancel())
        answering.addErrback(lambda failure: self._failed(request, failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        if request.method == b"OPTIONS":
            await self._preflight(request)
            return
        origin = header(request, "origin")
        try:
            flight = await self._flight(request, origin)
        except RequestRefused as why:
            # The flight is not known: any page may read this that may log at all.
            await allow_if_any(self._desk.registry, request)
            refuse(request, why.status, str(why))
        except HandshakeRefused as why:
            if why.cause is Refusal.TOKEN:
                await allow_if_any(self._desk.registry, request)
            elif why.cause is not Refusal.DOMAIN:
                _allow(request, origin)
            refuse(request, 401 if why.cause is Refusal.TOKEN else 403, str(why))
        else:
            _allow(request, origin)
            _send(request, 200, await self._welcome(request, origin, flight))

    async def _preflight(self, request: Request) -> None:
        if not await allow_if_any(self._desk.registry, request):
            refuse(request, 403, "No active flight accepts pages of this origin.")
            return
        request.setHeader("Access-Control-Allow-Methods", "POST")
        request.setHeader("Access-Control-Allow-Headers", "Content-Type")
        request.setHeader("Access-Control-Max-Age", str(PREFLIGHT_AGE))
        request.setResponseCode(204)
        request.finish()

    async def _flight(self, request: Request, origin: str | None) -> Flight:
        """The flight of the token in the body, if this page may log to it."""
        if request.method != b"POST":
            request.setHeader("Allow", "POST, OPTIONS")
            raise RequestRefused(405, "A ticket is had by POST.")
        if self._desk.closing():
            raise RequestRefused(503, "The server is shutting down.")
        wait = self._desk.rate.wait(address_of(request, self._desk.trusted))
        if wait:
            request.setHeader("Retry-After", str(math.ceil(wait)))
            raise RequestRefused(429, "There are too many requests from this address.")
        if host_of(request) is None:
            raise RequestRefused(400, "The Host header is not a host.")
        if origin is not None and len(origin) > MAX_ORIGIN:
            raise RequestRefused(400, "The Origin header is too long.")
        try:
            token = _read_init(_body(request)).token
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RequestRefused(
                400, "The body must be a JSON object with the flight's token, a string, at 'token'."
            ) from None
        hello = Hello(token=token, client_time=None, app_data={})
        return await self._desk.admission.admit(hello, origin, client_version=None)

    async def _welcome(self, request: Request, origin: str | None, flight: Flight) -> dict[str, Any]:
        """A ticket, and what the page has to know; the visitor's cookie, if it has none."""
        ttl = self._desk.tickets.ttl
        host, secure = host_of(request) or "", is_secure(request, self._desk.trusted)
        same_site = is_same_site(
            origin, header(request, "sec-fetch-site"), "https" if secure else "http", host
        )
        visitor = self._desk.visitors.welcome(request, same_site=same_site, secure=secure)
        return {
            "ticket": await self._desk.tickets.issue(flight.id, origin, visitor),
            "ttl": int(ttl) if ttl.is_integer() else ttl,
            "endpoint": f"{'wss' if secure else 'ws'}://{host}/kraken/socket",
            "meta": {
                "application": flight.application_name,
                "flight": flight.name,
                "listeners": flight.listeners,
                "sampling": {"mousemove": flight.sample_moves},
                "metadata": msgspec.Raw(flight.metadata.encode()),
            },
        }

    def _failed(self, request: Request, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            if failure.check(RegistryError) is None:
                log.failure("a ticket could not be given", failure=failure)
            refuse(request, 503, "The server cannot give a ticket at the moment.")


async def allow_if_any(registry: IRegistry, request: Request) -> bool:
    """Let the page read this answer if an active flight accepts its origin, and say whether it may."""
    origin = header(request, "origin")
    try:
        accepted = await registry.accepts(origin)
    except RegistryError:
        # Whatever the answer says is better sent unreadable than not at all.
        accepted = False
    if accepted:
        _allow(request, origin)
    return accepted


def _body(request: Request) -> bytes:
    content: Any = request.content
    body: bytes = content.read()
    return body


def _allow(request: Request, origin: str | None) -> None:
    if origin is not None:
        request.setHeader("Access-Control-Allow-Origin", origin)
        request.setHeader("Access-Control-Allow-Credentials", "true")


def refuse(request: Request, status: int, text: str) -> None:
    """Answer with this status and the text as JSON."""
    _send(request, status, {"error": text})


def _send(request: Request, status: int, answer: dict[str, Any]) -> None:
    request.setResponseCode(status, HTTPStatus(status).phrase.encode())
    request.setHeader("Content-Type", "application/json")
    request.setHeader("Cache-Control", "no-store")
    request.write(msgspec.json.encode(answer) + b"\n")
    request.finish()
