"""``postgresql:`` puts events and sessions into tables: a batch is one transaction, a large one several.

Events are copied into their table. Where some are there already, they are copied into a temporary table, and
from there those are inserted that are not; so a batch may be written as often as it takes. A large one is
copied over several connections, see :mod:`logui_tx.sinks.postgresql_abreast`. The tables are in
:mod:`logui_tx.sinks.postgresql_tables`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import Composed
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from logui_tx.dialects.times import to_iso_8601
from logui_tx.errors import BadOption, RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Session, SinkBatch, SinkURI
from logui_tx.postgresql import DEFAULTS, server_options
from logui_tx.records import device
from logui_tx.sinks.jsonb import as_jsonb, as_string, holdable
from logui_tx.sinks.postgresql_abreast import put_abreast
from logui_tx.sinks.postgresql_link import Link
from logui_tx.sinks.postgresql_rows import copy_rows
from logui_tx.sinks.postgresql_tables import (
    copy_directly,
    copy_in,
    insert_events,
    may_copy_directly,
    put_session,
    read_tables,
)
from logui_tx.threads import daemon_pool

_T = TypeVar("_T")

OWN = ("table", "sessions", "timeout", "connections")
"""Parameters that are not libpq's."""

_LONGEST_REASON = 300
_ABREAST = 2000
"""Rows of a batch from which on it goes over several connections."""
_ALONE = 100
"""Batches that go over one connection after several were of no use."""
# What is wrong with a value quotes it.
_VALUES = re.compile(r'".*"')
# SQLSTATEs, or how they begin, of what is wrong with the rows themselves ...
_OF_ROWS = ("22", "23", "54", "P0001")
# ... but for a column of somebody's own that must not be empty: no row would do.
_OF_TABLES = ("23502",)
# What cannot be copied into, or looked at, may be inserted into.
_OF_COPYING = ("0A", "42")
# What operators can mend has the same words every time.
_HINTS = {
    "42P07": "a table of this name is there already, and not logui-tx's: name another one by ?table=",
    "42703": "a table has another form than logui-tx made it with",
    "42804": "a table has another form than logui-tx made it with",
    "42P10": "a table has another form than logui-tx made it with",
    "23502": "a table has another form than logui-tx made it with",
}


@implementer(ISink)
class PostgreSQLSink:
    """See :class:`ISink`. Its connections are used in a thread of its own."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        """Raises :class:`BadOption`."""
        self._reactor = reactor
        parameters = uri.parameters
        self._tables = read_tables(parameters["table"], parameters["sessions"])
        self._timeout: float = parameters["timeout"]
        self._conninfo = _conninfo(uri, self._timeout)
        self._copy_directly = copy_directly(self._tables)
        self._copy, self._insert = copy_in(self._tables), insert_events(self._tables)
        self._put = put_session(self._tables)
        # The first is there always, the others when they are of use.
        self._links = [Link(self._conninfo, self._tables) for _ in range(parameters["connections"])]
        self._over_stage = False
        # So many batches more go over one connection, because several were of no use.
        self._alone = 0
        self._busy = 0
        self._pool = daemon_pool("postgresql", 1)
        self._closed: Deferred[None] | None = None

    def open(self, state: bytes) -> Deferred[None]:  # noqa: ARG002
        """See :meth:`ISink.open`."""
        return self._do(self._open)

    def prepare(self, batch: SinkBatch) -> None:  # noqa: ARG002
        """Whatever a batch holds of what is there is left out."""
        return

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        """See :meth:`ISink.write`."""
        return self._do(lambda: self._write(batch))

    def close(self) -> Deferred[None]:
        """See :meth:`ISink.close`."""
        if self._closed is None:
            self._closed = Deferred()
            if not self._pool.started:
                self._closed.callback(None)
            else:
                if self._busy:
                    self._hang_up()
                ended = deferToThreadPool(self._reactor, self._pool, self._disconnect)
                ended.addBoth(self._ended)
        done: Deferred[None] = Deferred()
        self._closed.addCallback(lambda _: done.callback(None))
        return done

    # --- in the reactor's thread

    def _do(self, work: Callable[[], _T]) -> Deferred[_T]:
        if not self._pool.started:
            self._pool.start()
        self._tell_late(False)
        self._busy += 1
        timer = self._reactor.callLater(self._timeout, self._too_late)
        doing: Deferred[_T] = deferToThreadPool(self._reactor, self._pool, self._told, work)

        def done(outcome: Any) -> Any:
            self._busy -= 1
            if timer.active():
                timer.cancel()
            return outcome

        return doing.addBoth(done)

    def _too_late(self) -> None:
        self._tell_late(True)
        self._hang_up()

    @property
    def _late(self) -> bool:
        return self._links[0].late

    def _tell_late(self, late: bool) -> None:
        for link in self._links:
            link.late = late

    def _hang_up(self) -> None:
        """Whoever waits for the other end waits no more."""
        for link in self._links:
            link.hang_up()

    def _ended(self, _outcome: object) -> None:
        self._pool.stop()
        assert self._closed is not None
        self._closed.callback(None)

    # --- in its own

    def _told(self, work: Callable[[], _T]) -> _T:
        """What goes wrong in the terms of :class:`ISink`."""
        try:
            return work()
        except psycopg.Error as error:
            state = error.sqlstate or ""
            why = " ".join((error.diag.message_primary or str(error)).split())
            if state.startswith("22"):
                why = _VALUES.sub('"…"', why)
            why = why[:_LONGEST_REASON]
            if state.startswith(_OF_ROWS) and state not in _OF_TABLES:
                raise RecordsRefused(why) from None
            # The next attempt looks at everything anew.
            self._disconnect()
            if self._late:
                raise SinkAway(f"no answer within {self._timeout:g} s") from None
            raise SinkAway(f"{_HINTS[state]}: {why}" if state in _HINTS else why) from None

    def _write(self, batch: SinkBatch) -> bytes:
        connection = self._links[0].connected()
        if self._put_abreast(batch, as_jsonb):
            return b""
        try:
            self._put_in(connection, batch, as_jsonb)
        except psycopg.Error as error:
            alone = len(batch.records) + len(batch.sessions) == 1
            if not alone or not (error.sqlstate or "").startswith(("22", "54")):
                raise
            # Whatever it is that a jsonb cannot hold, no event is refused for it.
            self._put_in(connection, batch, as_string)
        return b""

    def _put_in(
        self, connection: psycopg.Connection[Any], batch: SinkBatch, jsonb: Callable[[bytes], str]
    ) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            if batch.records and not self._put_directly(connection, batch, jsonb):
                _copy_in(cursor, self._copy, batch, jsonb)
                cursor.execute(self._insert)
                # Where some were there already, some of the next may be, too.
                self._over_stage = cursor.rowcount < len(batch.records)
            self._put_sessions(connection, batch, jsonb)

    def _put_sessions(
        self, connection: psycopg.Connection[Any], batch: SinkBatch, jsonb: Callable[[bytes], str]
    ) -> None:
        if batch.sessions:
            newest = {session.id: session for session in batch.sessions}
            rows = [_session(batch.journal_id, one, jsonb) for one in newest.values()]
            connection.cursor().executemany(self._put, rows)

    def _put_directly(
        self, connection: psycopg.Connection[Any], batch: SinkBatch, jsonb: Callable[[bytes], str]
    ) -> bool:
        """Whether the rows are in the table itself, which takes half the time; if not, none of them is.

        What is wrong with them the other way will tell.
        """
        if self._over_stage:
            return False
        # Unless it goes well: what fails leaves dead rows behind, and takes time that the other way needs.
        self._over_stage = True
        try:
            with connection.transaction():
                if not may_copy_directly(connection, self._tables):
                    return False
                _copy_in(connection.cursor(), self._copy_directly, batch, jsonb)
        except RecordsRefused:
            # Found out on the way, and by us: it is none of the table's.
            self._over_stage = False
            raise
        except psycopg.Error as error:
            if not _concerns_copying(error):
                raise
            return False
        self._over_stage = False
        return True

    def _put_abreast(self, batch: SinkBatch, jsonb: Callable[[bytes], str]) -> bool:
        """Whether the batch is written, over all connections; if not, it is to be written over one.

        As some of it may be there already: a batch that failed where it was ended.
        """
        if len(self._links) == 1 or self._over_stage or len(batch.records) < _ABREAST:
            return False
        if self._alone:
            self._alone -= 1
            return False
        self._alone = _ALONE
        try:
            done = put_abreast(
                self._all_connected(),
                self._tables,
                batch,
                jsonb,
                lambda connection: self._put_sessions(connection, batch, jsonb),
            )
        except RecordsRefused:
            self._alone = 0
            raise
        except (psycopg.Error, SinkAway, OSError) as error:
            if self._links[0].broken or self._late:
                # That is none of the others'; but who was too late goes alone once, with the whole time.
                self._alone = 1
                raise
            if _concerns_copying(error):
                self._alone, self._over_stage = 0, True
            done = False
        if done:
            self._alone = 0
        else:
            for link in self._links[1:]:
                link.disconnect()
        return done

    def _all_connected(self) -> Iterator[psycopg.Connection[Any]]:
        first, *others = self._links
        yield first.connected()
        for link in others:
            connection = link.connected_soon()
            if link.server != first.server:
                raise SinkAway("the name stands for several servers")
            yield connection

    def _open(self) -> None:
        self._links[0].connected()

    def _disconnect(self) -> None:
        for link in self._links:
            link.disconnect()


def _concerns_copying(error: Exception) -> bool:
    """Whether rows, or what is copied into, were not as they must be: over the stage it may go well."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith((*_OF_ROWS, *_OF_COPYING))


def _copy_in(
    cursor: psycopg.Cursor[Any], statement: Composed, batch: SinkBatch, jsonb: Callable[[bytes], str]
) -> None:
    with cursor.copy(statement) as copy:
        for rows in copy_rows(batch, jsonb):
            copy.write(rows)


def _conninfo(uri: SinkURI, timeout: float) -> str:
    """libpq's connection string. Raises :class:`BadOption`, with nothing that could be a password."""
    if not uri.path.strip("/") or "/" in uri.path.strip("/"):
        raise BadOption("sink: postgresql: a database is expected: postgresql://user:password@host/database")
    given = {name: value for name, value in uri.parameters.items() if name not in OWN and value is not None}
    known: dict[str, Any] = {**DEFAULTS, "target_session_attrs": "read-write", **given}
    known["options"] = f"{server_options(timeout)} {given.get('options', '')}".strip()
    credentials = {
        name: getattr(uri, name) for name in ("user", "password") if getattr(uri, name) is not None
    }
    bad = ""
    try:
        place = f"postgresql://{quote(uri.host, safe='[]:,%')}/{quote(uri.path.strip('/'), safe='')}"
        conninfo = make_conninfo(place, **known, **credentials)
        ports = str(conninfo_to_dict(conninfo).get("port", "")).split(",")
        if all(not port or (port.isascii() and port.isdecimal() and 0 < int(port) < 65536) for port in ports):
            return conninfo
        bad = "a port is a number from 1 to 65535"
    except (psycopg.Error, ValueError) as error:
        bad = " ".join(str(error).split())
    raise BadOption(f"sink: postgresql: the URI cannot be used: {bad}")


def _session(journal_id: str, session: Session, jsonb: Callable[[bytes], str]) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    return (
        journal_id,
        session.id,
        session.application_id,
        session.flight_id,
        session.dialect,
        to_iso_8601(session.started_at),
        None if session.ended_at is None else to_iso_8601(session.ended_at),
        session.end_reason,
        to_iso_8601(session.last_activity),
        session.events,
        _text(session.user_agent),
        _text(session.origin),
        _text(session.referrer),
        None if session.device is None else _device(session.device, jsonb),
        _text(session.visitor_id),
        jsonb(session.app_data),
    )


def _device(told: str, jsonb: Callable[[bytes], str]) -> str:
    """An object where the client told one, otherwise its text."""
    written = holdable(told)
    return (jsonb if isinstance(device(written), dict) else as_string)(written.encode())


def _text(text: str | None) -> str | None:
    return None if text is None else holdable(text)
