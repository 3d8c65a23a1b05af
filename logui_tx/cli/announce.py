"""Tells the running servers that a flight was changed, over the session store that they share."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from logui_tx.neighbours import flight_changed
from logui_tx.stores import open_store

TIMEOUT = 3.0
"""Seconds for all of it. Servers that are not told look for themselves, twice a second."""


def announce(reactor: Any, uri: str, flight_id: str) -> bool:
    """Runs the reactor meanwhile; whether the store took it. Raises :class:`BadOption` for the URI."""
    store = open_store(uri, reactor)
    if not store.shared:
        return True
    told: list[bool] = []

    async def tell() -> None:
        store.start("", lambda _message: None, lambda: None)
        await store.when_ready()
        await store.tell(None, flight_changed(flight_id))
        told.append(True)

    def begin() -> None:
        telling = Deferred.fromCoroutine(tell()).addTimeout(TIMEOUT, reactor)
        telling.addErrback(lambda failure: failure.trap(TimeoutError, CancelledError))
        telling.addCallback(lambda _: store.close())
        telling.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    return bool(told)
