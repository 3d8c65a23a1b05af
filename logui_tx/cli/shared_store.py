"""What a command has to say to the session store that the servers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from logui_tx.errors import StoreAway
from logui_tx.interfaces import ISessionStore
from logui_tx.stores import open_store

TIMEOUT = 3.0
"""Seconds for all of it."""


def tell_store(reactor: Any, uri: str, act: Callable[[ISessionStore], Deferred[Any]]) -> bool:
    """Runs the reactor meanwhile; whether it was done. Raises :class:`BadOption` for the URI."""
    store = open_store(uri, reactor)
    if not store.shared:
        return True
    done: list[bool] = []

    async def tell() -> None:
        store.start("", lambda _message: None, lambda: None)
        await store.when_ready()
        await act(store)
        done.append(True)

    def begin() -> None:
        telling = Deferred.fromCoroutine(tell()).addTimeout(TIMEOUT, reactor)
        telling.addErrback(lambda failure: failure.trap(TimeoutError, CancelledError, StoreAway))
        telling.addCallback(lambda _: store.close())
        telling.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    return bool(done)
