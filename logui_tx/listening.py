"""Takes ports, and tells as which URLs they are reached."""

from __future__ import annotations

from socket import socket
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure
from twisted.web.server import Site

from logui_tx.errors import CannotListen

BACKLOG = 4096
"""Connections that may wait to be taken, unless an endpoint says ``backlog=``: clients that were dropped
together come back together, and with Twisted's 50 the last would wait for many seconds."""

_EVERYWHERE = ("0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104 - to be shown, not to be bound


def listen(reactor: Any, description: str, site: Site) -> IListeningPort:
    """Take the port that an endpoint's description names. Raises :class:`CannotListen`."""
    try:
        endpoint = serverFromString(reactor, description)
    except ImportError as error:
        raise CannotListen(f"the endpoint {description!r} needs the extra logui-tx[tls]: {error}") from None
    except (ValueError, TypeError, LookupError, OSError) as error:
        raise CannotListen(f"the endpoint {description!r} cannot be used: {error}") from None
    outcome: list[Any] = []
    endpoint.listen(site).addBoth(outcome.append)
    if not outcome:
        raise CannotListen(f"the endpoint {description!r} cannot be listened on at once")
    if isinstance(outcome[0], Failure):
        failed = outcome[0].value
        why = failed.socketError if isinstance(failed, CannotListenError) else failed
        # The reason first: a daemon's parent shows no more than the beginning.
        raise CannotListen(f"{getattr(why, 'strerror', None) or why}: cannot listen on {description}")
    port: IListeningPort = outcome[0]
    listening: socket | None = getattr(port, "socket", None)
    if listening is not None and "backlog=" not in description:
        listening.listen(BACKLOG)
    return port


def url(port: IListeningPort) -> str:
    """Where the port is reached: a URL, where that is possible."""
    address: Any = port.getHost()
    host = getattr(address, "host", None)
    if host is None:
        return str(address)
    shown = "localhost" if host in _EVERYWHERE else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{address.port}/"
