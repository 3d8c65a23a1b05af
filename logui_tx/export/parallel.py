"""An export by several processes: the same bytes in the same order, in less time.

This process lists groups of sessions and gives each worker (:mod:`logui_tx.export.worker`) one's numbers;
what the workers send is written in the order of the groups. To hand them the messages themselves would cost
more than the work on these.

Of the messages that the workers hold, and of the text that waits here for its turn, there are ``memory``
bytes each at most; only the least share of a worker (:data:`LEAST`) may be more.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import BinaryIO

from attrs import define, field

from logui_tx.errors import LoguiError
from logui_tx.export.records import Selection, Tally
from logui_tx.export.worker import Chunk, Done, Failed, Part, Task
from logui_tx.journal.reader import group_sessions
from logui_tx.model import Session

MEMORY = 96 * 1024 * 1024
"""Bytes of messages in all workers, and of text that waits."""
FEW = 200_000
"""Fewer events than these are written before other processes have begun."""
LEAST = 16 * 1024 * 1024
"""A worker may hold messages of so many bytes: with less, segments are read again and again."""

_WORKER = "import sys; from logui_tx.export.worker import main; main(int(sys.argv[1]))"


def worthwhile(selection: Selection) -> bool:
    """Whether there is enough of it, in several sessions, for several processes."""
    if selection.session_id is not None:
        return False
    return any(events >= FEW for events in accumulate(session.events for session in selection.sessions()))


def write(
    selection: Selection,
    file: BinaryIO,
    tally: Tally,
    *,
    part: Part,
    data_dir: Path,
    jobs: int,
    memory: int = MEMORY,
) -> None:
    """Write what ``part`` writes of a selection of the journal in ``data_dir``, by ``jobs`` processes.

    Raises :class:`JournalError` as ``part``, OSError from the file, and :class:`LoguiError` where a process
    cannot be started or ends early.
    """
    share = max(memory // jobs, LEAST)
    task = Task(part, data_dir, selection.at, selection.since, selection.until, share)
    workers: list[_Worker] = []
    try:
        _Export(group_sessions(selection.sessions(), share), task, workers, jobs, memory).write(file, tally)
    finally:
        for worker in workers:
            worker.stop()


@define(eq=False)
class _Group:
    """What a worker made of a group so far and is not written yet."""

    chunks: deque[bytes] = field(factory=deque)
    end: Done | Failed | None = None


@define(eq=False)
class _Worker:
    """A process, the way to it, and the group that it works on."""

    process: subprocess.Popen[bytes]
    connection: Connection
    group: _Group | None = None

    @classmethod
    def start(cls) -> _Worker:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own text
                    [sys.executable, "-P", "-c", _WORKER, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C is for this process, which ends the others.
                    process_group=0,
                )
            except OSError as error:
                raise LoguiError(f"no other process can be started: {error.strerror}; try --jobs 1") from None
            return cls(process, Connection(ours.detach()))

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()

    def send(self, message: Task | Sequence[int]) -> None:
        with self._ending():
            self.connection.send(message)

    def receive(self) -> tuple[Chunk, bytes] | Done | Failed:
        with self._ending():
            message: Chunk | Done | Failed = self.connection.recv()
            return (message, self.connection.recv_bytes()) if isinstance(message, Chunk) else message

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError):
            self.connection.close()
            status = self.process.wait()
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            raise LoguiError(f"a process of the export ended early ({how}); try --jobs 1") from None


@define(eq=False)
class _Export:
    """``most`` bounds what waits, in bytes, apart from one chunk of each worker."""

    _groups: Iterator[list[Session]]
    _task: Task
    _workers: list[_Worker]
    _jobs: int
    _most: int
    _under_way: deque[_Group] = field(factory=deque)
    """In the order in which they are written."""
    _waiting: int = 0

    def write(self, file: BinaryIO, tally: Tally) -> None:
        self._begin()
        while self._under_way:
            first = self._under_way[0]
            while first.chunks:
                text = first.chunks.popleft()
                self._waiting -= len(text)
                file.write(text)
            if first.end is None:
                self._receive(first, tally)
                continue
            if isinstance(first.end, Failed):
                raise first.end.error
            tally.events += first.end.events
            tally.sessions += first.end.sessions
            tally.notes += first.end.notes
            tally.advance(first.end.untold)
            self._under_way.popleft()
            self._begin()

    def _begin(self) -> None:
        """Give every worker something to do that has nothing, as far as there is and may be more to wait."""
        while not self._under_way or self._waiting < self._most:
            worker = next((worker for worker in self._workers if worker.group is None), None)
            if worker is None and len(self._workers) == self._jobs:
                return
            sessions = next(self._groups, None)
            if sessions is None:
                return
            if worker is None:
                worker = _Worker.start()
                self._workers.append(worker)
                worker.send(self._task)
            worker.group = _Group()
            self._under_way.append(worker.group)
            worker.send([session.number for session in sessions])

    def _receive(self, first: _Group, tally: Tally) -> None:
        """Take what the workers have sent; of others than the first one's only while little waits."""
        some = self._waiting < self._most
        asked = [worker for worker in self._workers if worker.group is first or (worker.group and some)]
        ready = wait([worker.connection for worker in asked])
        for worker in asked:
            if worker.connection not in ready or worker.group is None:
                continue
            message = worker.receive()
            if isinstance(message, tuple):
                chunk, text = message
                worker.group.chunks.append(text)
                self._waiting += len(text)
                tally.advance(chunk.events)
            else:
                worker.group.end = message
                worker.group = None
                self._begin()
