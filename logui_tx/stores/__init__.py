"""Session stores, found by the scheme of their URI."""

from __future__ import annotations

from typing import Any

from logui_tx.errors import BadOption
from logui_tx.interfaces import ISessionStore
from logui_tx.stores.memory import MemorySessionStore

_REDIS = ("redis", "rediss", "redis+unix")


def open_store(uri: str, reactor: Any) -> ISessionStore:
    """The store that ``uri`` names; raises :class:`BadOption`, never with the URI: it may hold a password."""
    scheme, colon, rest = uri.partition(":")
    if scheme == "memory" and colon and not rest:
        return MemorySessionStore(reactor)
    if scheme in _REDIS and rest.startswith("//"):
        from logui_tx.redis.address import read_address

        address = read_address(uri)
        try:
            from logui_tx.stores.redis.store import RedisSessionStore
        except ImportError as error:
            raise BadOption(f"session-store: redis: needs the extra logui-tx[redis]: {error}") from None
        return RedisSessionStore(reactor, address)
    raise BadOption(
        "session-store: this kind of store is not known; known are memory: and redis://host:6379/0"
        " (also rediss:// and redis+unix://)"
    )
