"""A process of an export (:mod:`logui_tx.export.parallel`), which does the work on some of the sessions.

Over a socket, in the frames of ``multiprocessing``'s connections::

    the export            the worker
    Task              ->
    session numbers   ->
                      <-  Chunk and its bytes, as often as needed
                      <-  Done or Failed
    session numbers   ->  ...

It ends when the other side does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO, cast

from attrs import define, field, frozen

from logui_tx.errors import JournalError, LoguiError
from logui_tx.export.records import Selection, Tally, rare_collections
from logui_tx.journal.reader import JournalReader, Snapshot
from logui_tx.journal.schema import open_reader

Part = Callable[[Selection, BinaryIO, Tally], None]
"""Writes a selection, so that what it writes of sessions is the same whichever others it writes with them."""

_CHUNK, _LARGEST = 256 * 1024, 1024 * 1024
"""The usual bytes of a chunk, and the most."""


@frozen
class Task:
    """What is the same for all sessions; ``memory`` bounds the messages that are held, in bytes."""

    part: Part
    data_dir: Path
    at: Snapshot
    since: int | None
    until: int | None
    memory: int


@frozen
class Chunk:
    """The next frame is a piece of what is written. So many more events were written to what came before."""

    events: int


@frozen
class Done:
    """All of it was sent: so many events, of so many sessions, and what the user should know.

    ``untold`` of the events were written since the last chunk.
    """

    events: int
    sessions: int
    notes: list[str]
    untold: int


@frozen
class Failed:
    """What went wrong."""

    error: LoguiError


def main(socket: int) -> None:
    """Work until the other side of the socket of this number is gone."""
    with rare_collections(), Connection(socket) as connection, suppress(EOFError, OSError):
        task: Task = connection.recv()
        while True:
            connection.send(_write(task, connection.recv(), connection))


def _write(task: Task, numbers: list[int], connection: Connection) -> Done | Failed:
    """Raises OSError where the other side is gone."""
    sender = _Sender(connection)
    tally = Tally(sender.advance)
    try:
        with closing(open_reader(task.data_dir)) as journal:
            reader = JournalReader(journal, memory=task.memory)
            selection = Selection(reader, "", task.at, None, task.since, task.until, numbers)
            task.part(selection, cast(BinaryIO, sender), tally)
    except LoguiError as error:
        return Failed(error)
    except sqlite3.Error as error:
        return Failed(JournalError(f"the journal cannot be read: {error}"))
    sender.flush()
    return Done(tally.events, tally.sessions, tally.notes, sender.events)


@define(eq=False)
class _Sender:
    """What is written to it goes to the other side, much at once but not more than is well held there."""

    _connection: Connection
    _waiting: list[bytes] = field(factory=list)
    _size: int = 0
    events: int = 0

    def write(self, text: bytes) -> None:
        self._waiting.append(text)
        self._size += len(text)
        if self._size >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        text = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0
        for at in range(0, len(text), _LARGEST):
            self._connection.send(Chunk(self.events))
            self._connection.send_bytes(text[at : at + _LARGEST])
            self.events = 0

    def advance(self, events: int) -> None:
        self.events += events
