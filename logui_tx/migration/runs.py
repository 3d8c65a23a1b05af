"""Which events of a session are stored as one message. Pure.

The released server kept events one by one. Clients had sent them ten at a time or more, and what a page
changed of its application-specific data showed in all events of the next message, also in those made before:
only where messages ended does the dialect see which data was in force (PROTOCOL, section 2). So one ends
where the events begin to bear other data, but not as long as the marker of that change may still come.
"""

from __future__ import annotations

from attrs import define, field, frozen

from logui_tx.migration.events import PastEvent

FLUSH = 10
"""So many events the client sends at a time."""
BACKLOG = 1_000
"""The most that it sends at once, after it was away."""
MAX_SIZE = 1024 * 1024
"""Bytes after which a message ends in any case."""


@frozen
class Run:
    """Events that make a message: ``app_data`` is in force for it, ``received`` is its time, in UNIX ms."""

    items: list[bytes]
    app_data: bytes
    received: int


@define
class Runs:
    """The events of a session, one behind the other. ``in_force`` is the data after the last of them.

    ``begun`` is False where there was no event before.
    """

    in_force: bytes
    begun: bool
    size: int = 0
    _items: list[bytes] = field(factory=list)
    _borne: bytes | None = None
    _updated: bool = False
    _settled: bool = False
    _received: int = 0

    def add(self, event: PastEvent, received: int) -> list[Run]:
        """The messages that are complete with it, mostly none."""
        complete = []
        if None not in (self._borne, event.borne) and event.borne != self._borne:
            complete += self.end()
        if not self._items:
            self._settled = not self.begun
        self._items.append(event.text)
        self.size += len(event.text)
        self._received = max(self._received, received) if len(self._items) > 1 else received
        self._borne = event.borne if self._borne is None else self._borne
        self._updated = self._updated or event.updated
        # A page that has just begun bears its own data, whatever another had.
        self._settled = self._settled or self._updated or event.status == "started"
        settled = self._settled or self._borne in (None, self.in_force)
        if len(self._items) >= (FLUSH if settled else BACKLOG) or self.size >= MAX_SIZE:
            complete += self.end()
        return complete

    def end(self) -> list[Run]:
        """What there is, as a message; nothing where there is nothing."""
        if not self._items:
            return []
        before = self.in_force
        if self._borne is not None:
            self.in_force = self._borne
        corrected = self._updated and self.begun
        run = Run(self._items, before if corrected else self.in_force, self._received)
        self._items, self.size, self._borne, self._updated, self.begun = [], 0, None, False, True
        return [run]
