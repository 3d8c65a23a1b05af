"""Into the journal from a command: its writer is given entries no faster than it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Condition
from types import TracebackType

from logui_tx.errors import JournalError, NotStored
from logui_tx.journal.entry import Entry
from logui_tx.journal.handover import MAX_COMMIT
from logui_tx.journal.writer import JournalWriter

_COST = 512
"""What an entry itself is taken to hold in memory."""


class JournalFeed:
    """The one writer of a journal, while it is entered; the data folder is locked by the caller.

    Leaving it waits until everything is on disk.
    """

    def __init__(self, data_dir: Path) -> None:
        self._writer = JournalWriter(data_dir, self._settled)
        self._changed = Condition()
        self._waiting = 0
        self._error: NotStored | None = None

    def start(self, now: int) -> None:
        """Close what a crash left open; ``now`` in UNIX ms.

        Raises :class:`DataFolderUnusable`, and :class:`JournalError` where there is no room.
        """
        self._writer.start(now)
        if self._writer.failing is not None:
            self._writer.stop()
            raise _unwritten(self._writer.failing)

    def __enter__(self) -> JournalFeed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.stop()
        if kind is None:
            self._check()

    def append(self, entry: Entry) -> None:
        """Have the entry written, later. Raises :class:`JournalError` where an earlier one could not be."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < MAX_COMMIT or self._error is not None)
            self._check()
            self._waiting += entry.size + _COST
        self._writer.append(entry)

    def wait(self) -> None:
        """Until everything is on disk. Raises :class:`JournalError`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._error is not None)
            self._check()

    def _settled(self, entries: Sequence[Entry], error: NotStored | None) -> None:
        with self._changed:
            self._error = self._error or error
            self._waiting -= sum(entry.size + _COST for entry in entries)
            self._changed.notify_all()

    def _check(self) -> None:
        if self._error is not None:
            raise _unwritten(str(self._error))


def _unwritten(why: str) -> JournalError:
    return JournalError(f"the journal cannot be written: {why}; what was imported stays, run it again")
