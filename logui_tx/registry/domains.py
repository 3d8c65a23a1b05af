"""From where a flight may be logged (PROTOCOL, *Common rules*, *Origin*). Pure.

A flight's domains are entries of this form::

    entry = "*"                                 any page, also one that does not tell its origin
          | [ "*." ] host [ ":" port ]          "*." stands for one or more labels

Hosts are compared in lower case, as punycode, without a trailing dot; IPv6 addresses stand in brackets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from attrs import frozen
from hyperlink import URL

from logui_tx.errors import InvalidDomain

ANY = "*"

# Longer than any host, scheme and port together; what is longer is not worth the work of reading it.
_MAX_LENGTH = 1_000
_MAX_HOST = 253

# An origin and nothing more: no user, path, query or fragment. A lone slash at the end is forgiven.
_ORIGIN = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\[[0-9a-f:.]+\]|[^\s:/?#@\[\]\\%]+)(?P<port>:[0-9]{1,5})?/?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@frozen
class _Place:
    """A host and a port (None where none was told); ``scheme`` is None for a bare host."""

    host: str
    port: int | None
    scheme: str | None = None

    @property
    def effective_port(self) -> int | None:
        """The port, or its scheme's default."""
        return self.port if self.port is not None else _DEFAULT_PORTS.get(self.scheme or "")


@frozen
class _Entry:
    """A flight's domain, read; ``below`` says that it began with ``*.``."""

    host: str
    port: int | None
    below: bool

    def matches(self, host: str, port: int | None, any_port: bool) -> bool:
        if self.port is not None and self.port != port and not any_port:
            return False
        return host.endswith("." + self.host) if self.below else host == self.host

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{'*.' if self.below else ''}{self.host}{port}"


def parse_domain(text: str) -> str:
    """The normal form of a flight's domain entry: lower case, punycode, no trailing dot.

    Raises :class:`InvalidDomain` for an entry that could never match; its text shows the entry escaped.
    """
    text = text.strip()
    return ANY if text == ANY else str(_read_entry(text))


def allows(domains: Sequence[str], origin: str | None, declared: str | None) -> bool:
    """Whether a page of this origin may log to a flight with these domains. Never raises.

    ``origin`` is the browser's ``Origin`` header, ``declared`` the domain that the handshake names; either
    may be None or hostile. An origin that names no host (``null``, ``file://``, garbage) is accepted by
    ``*`` alone, whatever is declared; the same holds for a declared domain that cannot be read.
    """
    if origin is None:
        place = _read_place(declared) if declared else None
        # A declared domain without a port agrees with any, also when it comes as a whole origin.
        return _accept(
            domains, place, place.port if place else None, place is not None and place.port is None
        )
    place = _read_origin(origin)
    if place is None:
        return ANY in domains
    return agrees(origin, declared) and _accept(domains, place, place.effective_port, any_port=False)


def agrees(origin: str | None, declared: str | None) -> bool:
    """Whether the declared domain does not contradict the ``Origin`` header. Never raises.

    Nothing declared, or an origin that names no host, contradicts nothing.
    """
    page = _read_origin(origin) if origin is not None else None
    if page is None or not declared:
        return True
    said = _read_place(declared)
    if said is None or said.host != page.host:
        return False
    return said.port is None or said.port == page.effective_port


def _accept(domains: Sequence[str], place: _Place | None, port: int | None, any_port: bool) -> bool:
    if ANY in domains:
        return True
    if place is None:
        return False
    entries = (_known_entry(text) for text in domains)
    return any(entry is not None and entry.matches(place.host, port, any_port) for entry in entries)


@lru_cache(maxsize=4096)
def _known_entry(text: str) -> _Entry | None:
    try:
        return _read_entry(text.strip())
    except InvalidDomain:
        return None


def _read_entry(text: str) -> _Entry:
    below = text.startswith("*.")
    place = _read_place(text[2:] if below else text)
    if place is None:
        raise _invalid(text, "write a host, host:port, *.host, or * for any")
    if place.scheme is not None or text.endswith("/"):
        bare = _Entry(place.host, place.port, below)
        raise _invalid(text, f"leave out the scheme and the slashes, write {bare}")
    if below and _is_address(place.host):
        raise _invalid(text, "an address has no subdomains")
    return _Entry(place.host, place.port, below)


def _invalid(text: str, advice: str) -> InvalidDomain:
    shown = ascii(text if len(text) <= 100 else text[:100] + "...")
    return InvalidDomain(f"{shown} is not a domain: {advice}")


def _read_place(text: str) -> _Place | None:
    """A host, ``host:port`` or whole origin; None where it is none of these."""
    match = _ORIGIN.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        return None
    host = _normal_host(match["host"])
    port = int(match["port"][1:]) if match["port"] else None
    if host is None or (port is not None and not 0 < port < 65536):
        return None
    return _Place(host, port, match["scheme"].lower() if match["scheme"] else None)


def _read_origin(text: str) -> _Place | None:
    """An ``Origin`` header; None where it names no host, as ``null`` does."""
    place = _read_place(text)
    return place if place is not None and place.scheme is not None else None


def _normal_host(host: str) -> str | None:
    if host.startswith("["):
        try:
            return f"[{IPv6Address(host[1:-1])}]"
        except AddressValueError:
            return None
    if not host.isascii():
        try:
            host = URL(scheme="http", host=host).to_uri().host
        except ValueError:  # IDNA's errors are UnicodeErrors, which are ValueErrors
            return None
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > _MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    # As in browsers, a host that ends in a number is an IPv4 address or nothing.
    if _NUMBER.fullmatch(labels[-1]) and not _is_address(host):
        return None
    return host


def _is_address(host: str) -> bool:
    if host.startswith("["):
        return True
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True
