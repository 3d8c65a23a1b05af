"""Whose address counts, and whose scheme: the socket's, or what a trusted proxy says (PROTOCOL, *Common
rules*, Origin)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from logui_tx.options import Network

_FOR = re.compile(r"""(?:^|[;,\s])for\s*=\s*(?:"([^"]*)"|([^;,\s"]+))""", re.IGNORECASE)

_PROTO = re.compile(r"""(?:^|[;,\s])proto\s*=\s*"?([a-z]+)""", re.IGNORECASE)


def client_address(
    peer: str, forwarded: Sequence[str], x_forwarded_for: Sequence[str], trusted: Sequence[Network]
) -> str:
    """The client's address, as text.

    ``peer`` is the socket's other end. The headers (each value as it was sent) are read from the right, the
    end that our own proxies wrote, for as long as the speaker is trusted. ``X-Forwarded-For`` goes before
    ``Forwarded``: it is what proxies write, most of which pass a client's own ``Forwarded`` on as it came.
    """
    peer = _without_port(peer) or peer
    if not trusted:
        return peer
    hops = _hops(forwarded, x_forwarded_for)
    address = peer
    while hops and _is_trusted(address, trusted):
        hop = _without_port(hops.pop())
        if hop is None:
            break
        address = hop
    return address


def forwarded_scheme(
    peer: str, forwarded: Sequence[str], x_forwarded_proto: Sequence[str], trusted: Sequence[Network]
) -> str | None:
    """The scheme by which the client came to a trusted proxy, in lower case; None where none is told.

    Of each header the last element counts, the one that the nearest proxy wrote.
    """
    if not trusted or not _is_trusted(_without_port(peer) or peer, trusted):
        return None
    if x_forwarded_proto:
        return x_forwarded_proto[-1].rpartition(",")[2].strip().lower()
    told = _PROTO.findall(forwarded[-1].rpartition(",")[2]) if forwarded else []
    return told[-1].lower() if told else None


def _hops(forwarded: Sequence[str], x_forwarded_for: Sequence[str]) -> list[str]:
    if x_forwarded_for:
        return [hop.strip() for hop in ",".join(x_forwarded_for).split(",")]
    return [quoted or plain for quoted, plain in _FOR.findall(", ".join(forwarded))]


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        # A UNIX socket has no address: whoever may open it is local.
        return address == "unix"
    return any(parsed in network for network in trusted)


def _without_port(hop: str) -> str | None:
    """The bare address of ``1.2.3.4:5``, ``[::1]:5`` or ``::1``; None where it is no address."""
    bare = hop
    if hop.startswith("["):
        bare = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        bare = hop.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    # A socket for both IP versions shows IPv4 clients as ::ffff:1.2.3.4; the limits count them as one.
    return str(getattr(address, "ipv4_mapped", None) or address)
