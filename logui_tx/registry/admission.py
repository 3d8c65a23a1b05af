"""Whether a client that says hello may log (PROTOCOL, sections 1 *Handshake* and *Origin*)."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from logui_tx.errors import HandshakeRefused, InvalidToken, Refusal, UnknownFlight
from logui_tx.interfaces import IRegistry
from logui_tx.model import Flight, Hello
from logui_tx.registry.domains import agrees, allows
from logui_tx.registry.tokens import TokenSigner

_MAX_SHOWN = 100


class Admission:
    """Believes a handshake, or says precisely why not."""

    def __init__(self, registry: IRegistry, signer: TokenSigner) -> None:
        self._registry = registry
        self._signer = signer

    def admit(self, hello: Hello, origin: str | None, client_version: str | None) -> Deferred[Flight]:
        """Fires with the flight that the client may log to.

        ``origin`` is the browser's ``Origin`` header; ``client_version`` what the token must bear, None for
        any. Fails with :class:`HandshakeRefused`, whose cause is the first that holds of TOKEN, VERSION,
        TOKEN (no such flight), DOMAIN, SESSION, INACTIVE; or with what the registry failed with.

        The flight may be inactive where :func:`must_be_there` holds: who looks for the session asks that.
        """
        return Deferred.fromCoroutine(self._admit(hello, origin, client_version))

    async def _admit(self, hello: Hello, origin: str | None, client_version: str | None) -> Flight:
        try:
            claims = self._signer.read(hello.token)
        except InvalidToken as error:
            raise HandshakeRefused(Refusal.TOKEN, _sentence(str(error))) from None
        if client_version is not None and claims.client_version != client_version:
            raise HandshakeRefused(
                Refusal.VERSION,
                f"The token is for client version {_shown(claims.client_version)}, "
                f"this endpoint is for {_shown(client_version)}.",
            )
        flight = await self._find(claims.flight_id, "The token's application or flight is unknown.")
        if flight.application_id != claims.app_id:
            raise HandshakeRefused(Refusal.TOKEN, "The token's flight is not its application's.")
        _check_domain(flight, origin, hello.domain)
        if hello.bad_session is not None:
            raise HandshakeRefused(Refusal.SESSION, hello.bad_session)
        return flight if must_be_there(flight, hello) else checked_active(flight)

    async def readmit(self, flight_id: str, origin: str | None) -> Flight:
        """The flight that a client was admitted to a moment ago, if it still may log; fails likewise."""
        flight = await self._find(flight_id, "The flight is unknown.")
        _check_domain(flight, origin, None)
        return checked_active(flight)

    async def _find(self, flight_id: str, if_unknown: str) -> Flight:
        try:
            return await self._registry.find_flight(flight_id)
        except UnknownFlight:
            raise HandshakeRefused(Refusal.TOKEN, if_unknown) from None


def _check_domain(flight: Flight, origin: str | None, declared: str | None) -> None:
    if not allows(flight.domains, origin, declared):
        raise HandshakeRefused(Refusal.DOMAIN, _why_not(origin, declared))


def must_be_there(flight: Flight, hello: Hello) -> bool:
    """Whether the client is refused unless it can go on with the session that it names."""
    return flight.strict_sessions and hello.refusable and hello.session_id is not None


def checked_active(flight: Flight) -> Flight:
    """The flight. Raises :class:`HandshakeRefused` where it is not active."""
    if not flight.active:
        raise HandshakeRefused(Refusal.INACTIVE, "The flight is not active.")
    return flight


def _why_not(origin: str | None, declared: str | None) -> str:
    if declared and not agrees(origin, declared):
        return f"The domain {_shown(declared)} does not agree with the page's origin {_shown(origin or '')}."
    if origin is not None:
        return f"The origin {_shown(origin)} is not one of the flight's domains."
    if declared:
        return f"The domain {_shown(declared)} is not one of the flight's."
    return "Neither an origin nor a domain was told, and the flight does not accept any."


def _shown(text: str) -> str:
    """A client's own word, harmless to whoever reads it: quoted, escaped and not too long."""
    return ascii(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
