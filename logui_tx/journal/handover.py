"""Entries on their way from the reactor's thread to the writer's."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter

from logui_tx.journal.entry import Entry

MAX_COMMIT = 16 * 1024 * 1024
"""The entries of one commit hold about this many bytes at most, so that memory and latency stay bounded."""


_size = attrgetter("size")


class Handover:
    """:meth:`put` and :meth:`close` are for one thread, all else for the other.

    ``delay`` (seconds) gathers entries for so long before each group, but for one that only takes the rest of
    what was too much for the last.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._queue: queue.SimpleQueue[Sequence[Entry] | None] = queue.SimpleQueue()
        self._taken: deque[Entry] = deque()
        self.closed = False

    def put(self, entries: Sequence[Entry]) -> None:
        """Have these entries written, behind those before."""
        self._queue.put(entries)

    def close(self) -> None:
        """There will be no more."""
        self._queue.put(None)

    def group(self, patience: float | None) -> list[Entry]:
        """What goes into one commit, as soon as there is something.

        Nothing where nothing came for ``patience`` (seconds), or what came was the end: see :attr:`closed`.
        """
        with suppress(queue.Empty):
            if not self._taken:
                self._take(self._queue.get(timeout=patience))
                if self._delay and self._taken:
                    time.sleep(self._delay)
            while not self.closed:
                self._take(self._queue.get_nowait())
        if sum(map(_size, self._taken)) <= MAX_COMMIT:
            group = list(self._taken)
            self._taken.clear()
            return group
        group, size = [], 0
        while self._taken and size < MAX_COMMIT:
            entry = self._taken.popleft()
            group.append(entry)
            size += entry.size
        return group

    def _take(self, entries: Sequence[Entry] | None) -> None:
        if entries is None:
            self.closed = True
        else:
            self._taken += entries

    @property
    def done(self) -> bool:
        """Closed, and all was taken."""
        return self.closed and not self._taken
