"""The visitor's cookie: who it is that comes again (PROTOCOL, section 3, *INIT*)."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from twisted.web.http import Request

from logui_tx.registry.signing import Signature

NAME = b"kraken_visitor"
YEAR = 365 * 24 * 3600
"""Seconds for which a browser keeps it."""

_SALT = b"logui-tx.kraken-visitor"


class Visitors:
    """Believes only cookies that this server, or one with the same keys, has set."""

    def __init__(self, keys: Callable[[], tuple[str, ...]]) -> None:
        self._signature = Signature(keys, _SALT, longest=512)

    def known(self, request: Request) -> str | None:
        """The visitor's id by the request's cookie; None where it has none, or one that was tampered with."""
        cookie: bytes | None = request.getCookie(NAME)
        if cookie is None:
            return None
        visitor = self._signature.read(cookie.decode("ascii", "replace"))
        return visitor if isinstance(visitor, str) else None

    def welcome(self, request: Request, *, same_site: bool, secure: bool) -> str:
        """The visitor's id; one who is not known gets a new one, and its cookie with the answer."""
        visitor = self.known(request)
        if visitor is None:
            visitor = str(uuid.uuid4())
            cookie = self._cookie(visitor, same_site=same_site, secure=secure)
            request.responseHeaders.addRawHeader(b"set-cookie", cookie.encode())
        return visitor

    def _cookie(self, visitor: str, *, same_site: bool, secure: bool) -> str:
        value = self._signature.sign(visitor)
        cookie = f"{NAME.decode()}={value}; Max-Age={YEAR}; Path=/kraken; HttpOnly"
        if not same_site:
            # A page of another site sends it only so, and each site gets its own.
            return f"{cookie}; SameSite=None; Secure; Partitioned"
        return f"{cookie}; SameSite=Lax; Secure" if secure else f"{cookie}; SameSite=Lax"
