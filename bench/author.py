"""Writes a journal through the server's own writer, without a server: sessions side by side, all closed.

``python -m bench.author FOLDER FLIGHT EVENTS WINDOW``: so many events in all, in sessions of a thousand;
WINDOW payloads wait at a time, and what waits when a commit begins goes into it. Prints what it took as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from threading import Event
from typing import Any

from attrs import define

from bench import traffic
from logui_tx.errors import NotStored
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.segment import Kind
from logui_tx.journal.writer import JournalWriter

PAYLOAD, SESSION = 10, 1000
"""Events."""
DIALECT = "logui-0.4"
_APP_DATA = b'{"condition":3,"rotation":1,"userID":"user-26"}'


@define(eq=False)
class _Session:
    handle: SessionHandle
    events: int = 0
    ended: bool = False


class Author:
    """What is settled makes the next of its session; the writer's thread does all of it."""

    def __init__(self, folder: Path, flight: str, events: int) -> None:
        self.payloads = 0
        self.done = Event()
        self.refused: NotStored | None = None
        self._flight = flight
        self._left = events
        self._open = 0
        self._now = traffic.START
        self._messages = cycle(traffic.payloads(DIALECT, PAYLOAD))
        self._writer = JournalWriter(folder, self._settled)

    def write(self, window: int) -> None:
        """Returns when everything is on disk and the journal is closed. Raises what refused an entry."""
        self._writer.start(self._now)
        self._open = window
        for _ in range(window):
            self._begin()
        self.done.wait()
        self._writer.stop()
        if self.refused:
            raise self.refused

    def _settled(self, entries: Sequence[Entry], error: NotStored | None) -> None:
        if error is not None:
            self.refused = error
            self.done.set()
        for entry in entries:
            self._go_on(entry.context)

    def _go_on(self, session: _Session) -> None:
        if session.ended:
            if self._left > 0:
                self._begin()
            else:
                self._open -= 1
                if not self._open:
                    self.done.set()
        elif session.events < SESSION and self._left > 0:
            self._left -= PAYLOAD
            self.payloads += 1
            where = {"first_seq": session.events + 1, "count": PAYLOAD, "clock_offset": 7}
            self._add(Kind.EVENTS, session, message=next(self._messages), **where)
            session.events += PAYLOAD
        else:
            session.ended = True
            self._add(Kind.ENDED, session, end_reason="leavingPage")

    def _begin(self) -> None:
        row = SessionRow(str(uuid.uuid4()), self._flight, "bench", DIALECT, self._now, "Mozilla/5.0 bench")
        self._add(Kind.OPENED, _Session(SessionHandle(row)))

    def _add(self, kind: Kind, session: _Session, **details: Any) -> None:
        self._now += 1
        entry = Entry(kind, session.handle, self._now, _APP_DATA, epoch=0, context=session, **details)
        self._writer.append(entry)


def main() -> None:
    folder, flight, events, window = sys.argv[1:]
    author = Author(Path(folder), flight, int(events))
    begun, spent = time.monotonic(), time.process_time()
    author.write(int(window))
    seconds, cpu = time.monotonic() - begun, time.process_time() - spent
    print(json.dumps({"payloads": author.payloads, "seconds": seconds, "cpu": cpu}))  # noqa: T201


if __name__ == "__main__":
    main()
