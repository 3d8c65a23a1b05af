"""A batch on its way, whole or in halves, and what of it is dead."""

from __future__ import annotations

from attrs import frozen

from logui_tx.journal.cursors import Cursor, DeadLetter
from logui_tx.model import Position


@frozen
class Passage:
    """From the cursor to ``until``. ``dead`` is what is dead of it, and not yet noted with the cursor.

    Not earlier: what is offered again meanwhile may be delivered after all.
    """

    cursor: Cursor
    until: Position
    dead: list[DeadLetter]

    def due(self, after: Position) -> list[DeadLetter]:
        """Those that go with what ends at ``after``: sessions with the first, as they go before events."""
        return [one for one in self.dead if _before(one, after)]

    def passed(self, after: Position) -> int:
        """These are noted; how many events are among them."""
        due = self.due(after)
        self.dead[:] = [one for one in self.dead if not _before(one, after)]
        return sum(one.event is not None for one in due)


def _before(one: DeadLetter, after: Position) -> bool:
    return one.event is None or Position(one.segment, one.event) < after
