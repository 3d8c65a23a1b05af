"""The one thread that writes the journal: group commit, one segment a commit, told when it is on disk.

Idle, an entry is committed at once; busy, whatever waited goes into the next commit. What the thread could
not write it says, takes back in its own state, and tries again with the next entry or after a second.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import astuple
from twisted.logger import Logger

from logui_tx.errors import CorruptSegment, DataFolderUnusable, NotStored
from logui_tx.journal import schema
from logui_tx.journal.entry import Entry
from logui_tx.journal.group import Group, Progress
from logui_tx.journal.handover import Handover
from logui_tx.journal.segment import Kind, Record, SegmentReader, SegmentWriter, pack_sessions

log = Logger()

Settled = Callable[[Sequence[Entry], NotStored | None], None]
"""Told of entries that are committed, or refused with the reason; called in the writer's thread."""

_PROBE_INTERVAL = 1.0
_PROBE = "-" * 65_536
_CHECKED_SEGMENTS = 16
_LOST_TOGETHER = 1_000
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_WRITE)

_INSERT_SESSION = (
    "INSERT INTO session (id, flight_id, application_id, dialect, started_at, user_agent, origin, referrer,"
    " device, visitor_id, client_started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_SEGMENT = (
    "INSERT INTO segment (id, first_received, last_received, events, sessions, block)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_UPDATE_PROGRESS = (
    "UPDATE progress SET events = events + ?, size = size + ?, last_seq = max(last_seq, ?),"
    " first_segment = coalesce(first_segment, ?), last_segment = ?, last_activity = max(last_activity, ?),"
    " app_data = ? WHERE session = ?"
)
_UPSERT_INSTANCE = (
    "INSERT INTO instance VALUES (?, ?, ?) ON CONFLICT (session, name)"
    " DO UPDATE SET last_payload_id = max(last_payload_id, excluded.last_payload_id)"
)


class JournalWriter:
    """Owns the writing connection. Entries may be appended from one thread only, the reactor's.

    ``commit_delay`` (seconds) gathers entries for so long before a commit; 0 commits at once.
    """

    def __init__(
        self, data_dir: Path, settled: Settled, *, compression: int = 1, commit_delay: float = 0.0
    ) -> None:
        self.data_dir = data_dir
        self.failing: str | None = None
        self._settled = settled
        self._segments = SegmentWriter(compression)
        self._waiting = Handover(commit_delay)
        self._failed_epoch = -1
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._connection: sqlite3.Connection
        self.next_segment = 1
        self._lost_at: int | None = None
        self._inode = 0
        self.journal_id = ""

    # --- the reactor's side

    def start(self, now: int) -> int:
        """Open and check the journal, close what a crash left open; the number of those sessions.

        ``now`` in UNIX ms. Raises :class:`DataFolderUnusable`.
        """
        self._connection = schema.open_journal(self.data_dir, create=True)
        self.journal_id = schema.journal_id(self._connection)
        lost = 0
        try:
            self._check()
            self._lost_at = now
            lost = self._close_lost_sessions()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in _NO_ROOM:
                raise self._does_not_pass(error) from None
            # A full disk is an announced state, also at the start; the rest comes when there is room.
            self._fail(error)
        except (sqlite3.Error, CorruptSegment) as error:
            raise self._does_not_pass(error) from None
        self._inode = self._file().st_ino
        self._thread.start()
        return lost

    def trouble(self) -> str | None:
        """Why nothing can be stored, or would not stay; None while all is well."""
        if self.failing is not None:
            return f"cannot be written: {self.failing}"
        try:
            return None if self._file().st_ino == self._inode else "its file was replaced"
        except OSError:
            return "its file is gone"

    def append(self, entry: Entry) -> None:
        """Have the entry written; it is settled in the order of the calls."""
        self._waiting.put((entry,))

    def append_all(self, entries: Sequence[Entry]) -> None:
        """As :meth:`append`, of each."""
        self._waiting.put(entries)

    def stop(self) -> None:
        """Write everything that waits and close the journal; blocks until that is done. Idempotent."""
        if self._thread.is_alive():
            self._waiting.close()
            self._thread.join()

    # --- the thread

    def _run(self) -> None:
        while not self._waiting.done:
            group = self._waiting.group(_PROBE_INTERVAL if self.failing else None)
            if group:
                self._settle(group)
            elif self.failing and not self._waiting.closed:
                self._probe()
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warn("the journal's log could not be folded in: {error}", error=error)
        self._connection.close()

    def _settle(self, entries: list[Entry]) -> None:
        fresh = entries
        if self._failed_epoch >= 0:
            fresh = [entry for entry in entries if entry.work or entry.epoch > self._failed_epoch]
            stale = [entry for entry in entries if not entry.work and entry.epoch <= self._failed_epoch]
            if stale:
                self._settled(stale, NotStored(self.failing or "an earlier write failed"))
            if not fresh:
                return
        try:
            self._commit(fresh)
        except Exception as error:  # noqa: BLE001 - whatever it is, the clients must be told and the thread go on
            self._failed_epoch = max(
                (entry.epoch for entry in fresh if not entry.work), default=self._failed_epoch
            )
            self._fail(error)
            self._settled(fresh, NotStored(self.failing or ""))
        else:
            self._recover()
            self._settled(fresh, None)

    def _commit(self, entries: list[Entry]) -> None:
        group = Group()
        begun = False
        try:
            self._close_lost_sessions()
            for entry in entries:
                if entry.kind is None and entry.work is None:
                    continue
                if not begun:
                    self._connection.execute("BEGIN IMMEDIATE")
                    begun = True
                if entry.work is None:
                    self._add(group, entry)
                else:
                    entry.work(self._connection)
            if group.records:
                self._write(group)
            if begun:
                self._connection.execute("COMMIT")
            if group.records:
                self.next_segment += 1
        except BaseException:
            group.take_back()
            raise

    def _add(self, group: Group, entry: Entry) -> None:
        handle, kind = entry.handle, entry.kind
        assert kind is not None
        if not handle.open or entry.app_data != handle.app_data:
            self._bring_up_to_date(group, entry)
        number, version, received = handle.number, handle.version, entry.received
        assert number is not None
        message, first_seq, count = entry.message, entry.first_seq, entry.count
        size = len(message)
        group.records.append(
            Record(kind, number, received, version, first_seq, count, size, entry.clock_offset)
        )
        progress = group.progress.get(number)
        if progress is None:
            progress = group.progress[number] = Progress(received, version)
        elif received > progress.last_activity:
            progress.last_activity = received
        progress.version = version
        if message:
            group.messages.append(message)
            progress.events += count
            progress.size += size
            last_seq = first_seq + count - 1
            if last_seq > progress.last_seq:
                progress.last_seq = last_seq
        if entry.payload_id is not None:
            group.instances[number, entry.instance] = entry.payload_id
        if entry.refused is not None:
            group.refused[number] = entry.refused
        if kind is Kind.ENDED:
            assert entry.end_reason is not None
            group.ended[number] = entry.received, entry.end_reason
            group.remember(handle)
            handle.open = False

    def _bring_up_to_date(self, group: Group, entry: Entry) -> None:
        """Make the session's row, open it again, or note its new application-specific data."""
        handle = entry.handle
        group.remember(handle)
        execute = self._connection.execute
        number = handle.number
        if number is not None and not handle.open and not self._open_again(number):
            # It was erased while it rested; what is known of it elsewhere begins it anew.
            number = handle.app_data = None
        if number is None:
            row = handle.row
            number = handle.number = execute(_INSERT_SESSION, astuple(row)).lastrowid
            assert number is not None
            execute("INSERT INTO progress (session, last_activity) VALUES (?, ?)", (number, row.started_at))
        if not handle.open:
            # It may have ended in this very commit.
            group.ended.pop(number, None)
            handle.open = True
        if entry.app_data != handle.app_data:
            version = execute(
                "INSERT INTO app_data (session, value) VALUES (?, ?)", (number, entry.app_data)
            ).lastrowid
            assert version is not None
            handle.version, handle.app_data = version, entry.app_data

    def _open_again(self, number: int) -> bool:
        """Whether the journal has the session, which is open from now on."""
        updated = self._connection.execute(
            "UPDATE progress SET ended_at = NULL, end_reason = NULL WHERE session = ?", (number,)
        )
        return updated.rowcount == 1

    def _write(self, group: Group) -> None:
        received = [record.received for record in group.records]
        segment = self.next_segment
        self._connection.execute(
            _INSERT_SEGMENT,
            (
                segment,
                min(received),
                max(received),
                sum(p.events for p in group.progress.values()),
                pack_sessions(group.progress),
                self._segments.block(group.records, group.messages),
            ),
        )
        self._connection.executemany(
            _UPDATE_PROGRESS,
            [
                (p.events, p.size, p.last_seq, segment, segment, p.last_activity, p.version, number)
                for number, p in group.progress.items()
            ],
        )
        if group.instances:
            self._connection.executemany(
                _UPSERT_INSTANCE, [(number, name, last) for (number, name), last in group.instances.items()]
            )
        if group.refused:
            self._connection.executemany(
                "UPDATE progress SET refused = ? WHERE session = ?",
                [(refused, number) for number, refused in group.refused.items()],
            )
        if group.ended:
            self._connection.executemany(
                "UPDATE progress SET ended_at = ?, end_reason = ? WHERE session = ?",
                [(at, reason, number) for number, (at, reason) in group.ended.items()],
            )

    # --- trouble

    def _fail(self, error: Exception) -> None:
        if self.failing is None:
            log.critical("the journal cannot be written: {error}", error=error)
        self.failing = str(error) or type(error).__name__
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - this thread must live, or nobody hears of it
            try:
                self._connection.close()
                self._connection = schema.open_journal(self.data_dir)
            except Exception as gone:  # noqa: BLE001 - as above
                log.critical("the journal cannot be opened again: {error}", error=gone)

    def _recover(self) -> None:
        if self.failing is not None:
            self.failing = None
            log.info("the journal can be written again")

    def _probe(self) -> None:
        """See whether writing works again, so that health turns green without waiting for a client."""
        try:
            self._close_lost_sessions()
            self._connection.execute("REPLACE INTO meta VALUES ('probe', ?)", (_PROBE,))
            self._connection.execute("DELETE FROM meta WHERE key = 'probe'")
        except Exception as error:  # noqa: BLE001 - as above; no memory is no error of SQLite's
            self._fail(error)
        else:
            self._recover()
            self._settled([], None)

    # --- start

    def _check(self) -> None:
        """The newest segments must be readable; older ones were checked when they were the newest."""
        reader = SegmentReader()
        rows = self._connection.execute(
            "SELECT id, block FROM segment ORDER BY id DESC LIMIT ?", (_CHECKED_SEGMENTS,)
        )
        for number, block in rows:
            try:
                reader.read(block)
            except CorruptSegment as error:
                raise CorruptSegment(f"segment {number}: {error}") from None
        (last,) = self._connection.execute("SELECT max(id) FROM segment").fetchone()
        self.next_segment = (last or 0) + 1

    def _file(self) -> os.stat_result:
        return (self.data_dir / schema.FILE).stat()

    def _does_not_pass(self, error: Exception) -> DataFolderUnusable:
        self._connection.close()
        return DataFolderUnusable(
            f"the journal {self.data_dir / schema.FILE} does not pass its check: {error}"
        )

    def _close_lost_sessions(self) -> int:
        """Sessions that a crash left open ended, as far as anybody knows, with their last activity.

        Done once, before anything else is written: a session that is resumed later is not among them.
        """
        if self._lost_at is None:
            return 0
        rows = self._connection.execute(
            "SELECT session, last_activity, coalesce(app_data, 0) FROM progress WHERE ended_at IS NULL"
        ).fetchall()
        for at in range(0, len(rows), _LOST_TOGETHER):
            group = Group()
            for number, last_activity, version in rows[at : at + _LOST_TOGETHER]:
                group.records.append(Record(Kind.ENDED, number, self._lost_at, version))
                group.progress[number] = Progress(last_activity, version)
                group.ended[number] = last_activity, "lost"
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._write(group)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self.next_segment += 1
        self._lost_at = None
        return len(rows)
