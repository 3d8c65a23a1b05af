"""The batch behind the one that a sink is given, read while it writes."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from logui_tx.delivery.source import DeliverySource, Reading
from logui_tx.errors import JournalError
from logui_tx.journal.cursors import Cursor
from logui_tx.model import Position


@frozen
class _Begun:
    """What is read from ``first`` on, when so much had been deleted."""

    first: Position
    erasures: int
    reading: Deferred[Reading | None]


class ReadAhead:
    """For one sink. ``most`` and ``most_bytes`` are its batches'."""

    def __init__(self, source: DeliverySource, most: int, most_bytes: int) -> None:
        self._source = source
        self._most = most
        self._most_bytes = most_bytes
        self._begun: _Begun | None = None

    async def read(self, cursor: Cursor) -> Reading | None:
        """What follows the cursor; None where there is nothing. Raises :class:`JournalError`."""
        begun, self._begun = self._begun, None
        if begun is not None and _holds(begun, cursor):
            reading = await begun.reading
            if reading is not None:
                return reading
        return await self._source.read(cursor, self._most, self._most_bytes)

    def begin(self, cursor: Cursor, first: Position) -> None:
        """Read what will follow when the cursor stands at ``first``."""
        reading = self._source.read_from(first, self._most, self._most_bytes)
        reading.addErrback(_unread)
        self._begun = _Begun(first, cursor.erasures, reading)

    def forget(self) -> None:
        """It may be long until it is wanted."""
        self._begun = None


def _unread(failure: Failure) -> None:
    """It is read again when it is wanted, and whatever is wrong then is told."""
    failure.trap(JournalError)


def _holds(begun: _Begun, cursor: Cursor) -> bool:
    """Not where an operator has moved the cursor or deleted a session, or a batch has to come as it was."""
    return cursor.pending is None and begun.first == cursor.position and begun.erasures == cursor.erasures
