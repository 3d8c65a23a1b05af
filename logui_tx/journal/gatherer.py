"""What a turn of the reactor brought goes to the journal together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime

from logui_tx.journal.entry import Entry


class TurnGatherer:
    """Passes entries on when the reactor's turn ends, all together.

    One turn reads from every client that has sent; handing each payload over at once would have the writer
    commit the first alone, and every commit costs as much as many payloads.
    """

    def __init__(self, clock: IReactorTime, append: Callable[[Sequence[Entry]], None]) -> None:
        self._clock = clock
        self._pass_on_to = append
        self._entries: list[Entry] = []

    def append(self, entry: Entry) -> None:
        """Take an entry; the order is kept."""
        if not self._entries:
            self._clock.callLater(0, self._pass_on)
        self._entries.append(entry)

    def _pass_on(self) -> None:
        entries, self._entries = self._entries, []
        self._pass_on_to(entries)
