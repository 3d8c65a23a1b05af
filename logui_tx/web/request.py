"""What a request says about its sender, read so that nothing it may hold does harm."""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted.web.http import Request

from logui_tx.options import Network
from logui_tx.web.address import client_address, forwarded_scheme

_HOST = re.compile(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
_MAX_HOST = 261


def header(request: Request, name: str) -> str | None:
    """A header's text, the last one's where there are several; None where it is absent or empty."""
    value: bytes | None = request.getHeader(name.encode())
    return value.decode("utf-8", "replace") if value else None


def address_of(request: Request, trusted: Sequence[Network]) -> str:
    """The client's address, behind whatever proxies are ``trusted``."""
    forwarded, x_forwarded_for = _all(request, "forwarded"), _all(request, "x-forwarded-for")
    return client_address(_peer(request), forwarded, x_forwarded_for, trusted)


def is_secure(request: Request, trusted: Sequence[Network]) -> bool:
    """Whether the client came by https, to here or to a trusted proxy."""
    if request.isSecure():
        return True
    forwarded, x_forwarded_proto = _all(request, "forwarded"), _all(request, "x-forwarded-proto")
    return forwarded_scheme(_peer(request), forwarded, x_forwarded_proto, trusted) == "https"


def host_of(request: Request) -> str | None:
    """The ``Host`` header in lower case, maybe with a port; None where it is no host."""
    host = header(request, "host") or ""
    return host.lower() if len(host) <= _MAX_HOST and _HOST.fullmatch(host) else None


def _peer(request: Request) -> str:
    return getattr(request.getClientAddress(), "host", None) or "unix"


def _all(request: Request, name: str) -> list[str]:
    found = request.requestHeaders.getRawHeaders(name.encode(), [])
    return [value.decode("utf-8", "replace") for value in found]
