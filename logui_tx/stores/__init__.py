"""Session stores, found by the scheme of their URI."""

from __future__ import annotations

from typing import Any

from logui_tx.errors import BadOption
from logui_tx.interfaces import ISessionStore
from logui_tx.stores.memory import MemorySessionStore


def open_store(uri: str, reactor: Any) -> ISessionStore:
    """The store that ``uri`` names; raises :class:`BadOption`, never with the URI: it may hold a password."""
    scheme, colon, rest = uri.partition(":")
    if scheme != "memory" or not colon or rest:
        raise BadOption("session-store: this kind of store is not known; known is memory:")
    return MemorySessionStore(reactor)
