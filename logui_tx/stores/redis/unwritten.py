"""What a store that is away could not write, until it is back: the newest view of each session is enough."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field
from twisted.logger import Logger

from logui_tx.model import Kept

log = Logger()

CAPACITY = 64 * 1024 * 1024
"""Bytes of views; the oldest go first, and are found in the journal of the server where they were written."""


@define
class Unwritten:
    """Views by session, each with the serial number of its save and the time that it is to be kept."""

    capacity: int = CAPACITY
    _views: dict[str, tuple[int, Kept, float]] = field(factory=dict)
    _size: int = 0

    def __len__(self) -> int:
        return len(self._views)

    def add(self, serial: int, sessions: Mapping[str, Kept], ttl: float) -> None:
        """What could not be written; a newer view of a session stays."""
        for session_id, kept in sessions.items():
            before = self._views.get(session_id)
            if before is not None and before[0] > serial:
                continue
            self._drop(session_id)
            self._views[session_id] = serial, kept, ttl
            self._size += len(kept.view)
        while self._size > self.capacity:
            self._drop(next(iter(self._views)))

    def written(self, serial: int, sessions: Mapping[str, Kept]) -> None:
        """These were written: older views of them need not be any more."""
        if self._views:
            for session_id in sessions:
                before = self._views.get(session_id)
                if before is not None and before[0] <= serial:
                    self._drop(session_id)

    def view(self, session_id: str) -> bytes | None:
        """The newest view that waits."""
        found = self._views.get(session_id)
        return None if found is None else found[1].view

    def first(self, most: int) -> tuple[int, dict[str, Kept], float]:
        """Some that wait longest, and have to be kept as long as each other; the highest serial of them."""
        serial, chosen, ttl = 0, dict[str, Kept](), 0.0
        for session_id, (number, kept, seconds) in self._views.items():
            if chosen and (seconds != ttl or len(chosen) == most):
                break
            chosen[session_id], ttl = kept, seconds
            serial = max(serial, number)
        return serial, chosen, ttl

    def _drop(self, session_id: str) -> None:
        found = self._views.pop(session_id, None)
        if found is not None:
            self._size -= len(found[1].view)
