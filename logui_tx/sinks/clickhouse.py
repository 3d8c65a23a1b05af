"""``clickhouse:`` inserts each batch over ClickHouse's HTTP interface.

**Once in effect.** A batch stays as it is (:meth:`ClickHouseSink.prepare`) and goes in as one block a
partition, with its id as ``insert_deduplication_token``: what is offered again is known to the table, and
dropped there. A session's newest row replaces the others.

A server that is killed may remember a token whose rows it does not have: a table without replicas notes it
first. So whenever nobody knows how far a batch got, it is looked for afterwards, and what is not there goes
in again under another token.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator, Sequence
from http.client import responses
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from logui_tx.errors import RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Record, SinkBatch, SinkURI
from logui_tx.sinks import clickhouse_tables as tables
from logui_tx.sinks.clickhouse_http import ClickHouseError, ClickHouseHTTP
from logui_tx.sinks.clickhouse_tables import Table
from logui_tx.sinks.posting import MOST_READ, Answer
from logui_tx.threads import daemon_pool

ATTEMPTS = 3
"""How often what the server took is looked for, and given again."""

NO_SUCH_COLUMN = 16
UNKNOWN_TABLE = 60
VIOLATED_CONSTRAINT = 469

REFUSED = {
    6: "CANNOT_PARSE_TEXT",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
"""Of ClickHouse's error codes those that say that a value cannot be taken, now or later: it cannot be parsed,
is out of its type's range, or violates a constraint."""

AWAY = {
    16: "NO_SUCH_COLUMN_IN_TABLE",
    47: "UNKNOWN_IDENTIFIER",
    60: "UNKNOWN_TABLE",
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    81: "UNKNOWN_DATABASE",
    115: "UNKNOWN_SETTING",
    159: "TIMEOUT_EXCEEDED",
    164: "READONLY",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    285: "TOO_FEW_LIVE_REPLICAS",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
    999: "KEEPER_EXCEPTION",
    1001: "STD_EXCEPTION",
}
"""Of the others those that come in the life of a server."""

_COLUMN = re.compile(r"Code: 16\. DB::Exception: No such column `?(\w{1,100})`? in table ")
_CONSTRAINT = re.compile(r"Code: 469\. DB::Exception: Constraint `?(\w{1,100})`? ")


@implementer(ISink)
class ClickHouseSink:
    """See :class:`ISink`."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        given = uri.parameters
        self._events, self._sessions = tables.read_tables(uri.path, given["sessions-table"], given["engine"])
        self._gzip: bool = given["gzip"] == "yes"
        self._reactor = reactor
        self._server = ClickHouseHTTP(uri, reactor)
        self._threads = daemon_pool("clickhouse", 1)
        # Whether what is offered next may be there in part.
        self._doubt = True
        self._closed = False

    def open(self, state: bytes) -> Deferred[None]:  # noqa: ARG002
        """Makes the tables, and adds what columns they lack."""
        if not self._threads.started:
            self._threads.start()
        return Deferred.fromCoroutine(self._open())

    def prepare(self, batch: SinkBatch) -> Deferred[bytes]:  # noqa: ARG002
        """Nothing; but now the batch is offered again as it is, before any other."""
        return succeed(b"next")

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        """See :meth:`ISink.write`."""
        return Deferred.fromCoroutine(self._write(batch))

    async def _open(self) -> None:
        for table in filter(None, (self._events, self._sessions)):
            try:
                there = await self._server.ask(table.describe())
            except ClickHouseError as error:
                if error.code != UNKNOWN_TABLE:
                    raise self._quoted(error) from None
                await self._made(table.create())
            else:
                # Of a very wide table only the first columns are told; that it has ours, ClickHouse sees.
                names = {
                    line.partition(b"\t")[0].decode(errors="replace") for line in there.body.splitlines()
                }
                for statement in table.migrate(names):
                    await self._made(statement)

    async def _made(self, statement: str) -> None:
        try:
            await self._server.ask(statement)
        except ClickHouseError as error:
            raise self._quoted(error) from None

    async def _told(self, statement: str) -> Answer:
        try:
            return await self._server.ask(statement)
        except ClickHouseError as error:
            raise self._explained(error) from None

    async def _write(self, batch: SinkBatch) -> bytes:
        # A session that is refused must not leave events behind; one that is there already does no harm.
        if self._sessions is not None and batch.sessions:
            await self._insert(self._sessions, tables.session_row, batch.sessions)
        looking, self._doubt = self._doubt, True
        await self._insert_events(batch.records, batch.id, looking)
        self._doubt = False
        return b""

    async def _insert_events(self, records: Sequence[Record], token: str, looking: bool) -> None:
        for attempt in range(ATTEMPTS):
            if not records:
                return
            # A token is the same whenever the same is tried again.
            this = f"{token}-{attempt}" if attempt else token
            await self._insert(self._events, tables.event_row, records, insert_deduplication_token=this)
            if not looking or self._events.replicated:
                return
            there = await self._there(records)
            records = [record for record in records if record.record_id not in there]
        if records:
            raise SinkAway(f"{len(records)} events are not there, although the server took them")

    async def _there(self, records: Sequence[Record]) -> set[str]:
        """Which of their ids the table has; asked for in so many parts that no answer is cut."""
        there: set[str] = set()
        for some in parts(records):
            answer = await self._told(self._events.find(some))
            if not answer.whole:
                raise SinkAway("an answer of ClickHouse's was cut off")
            there.update(answer.body.decode(errors="replace").split())
        return there

    async def _insert(
        self, table: Table, row: Callable[[Any], dict[str, Any]], them: Sequence[Any], **settings: str
    ) -> None:
        def make() -> bytes:
            body = tables.lines(map(row, them))
            return gzip.compress(body, compresslevel=1) if self._gzip else body

        body = await deferToThreadPool(self._reactor, self._threads, make)
        try:
            await self._server.ask(table.insert(), body, self._gzip, **settings)
        except ClickHouseError as error:
            raise self._explained(error) from None

    def _quoted(self, error: ClickHouseError) -> SinkAway:
        """What was asked held nothing of a record."""
        return SinkAway(f"{error.status}: {error.text}", error.retry_after)

    def _explained(self, error: ClickHouseError) -> SinkAway | RecordsRefused:
        """What ClickHouse, or a server in between, says of what was asked may quote it."""
        if error.code in REFUSED:
            name = _CONSTRAINT.match(error.text) if error.code == VIOLATED_CONSTRAINT else None
            constraint = f": {name[1]}" if name else ""
            return RecordsRefused(f"ClickHouse refuses it: {error.code} {REFUSED[error.code]}{constraint}")
        if error.code == 0 and error.status == 413:
            return RecordsRefused("the request is too large for a server in between (413)")
        if error.code == 0:
            return SinkAway(
                f"answered {error.status} {responses.get(error.status, '')}".rstrip(), error.retry_after
            )
        column = _COLUMN.match(error.text) if error.code == NO_SUCH_COLUMN else None
        named = f": {column[1]}" if column and column[1] in {*tables.EVENTS, *tables.SESSIONS} else ""
        why = f"{error.status}: {error.code} {AWAY.get(error.code, '')}".rstrip() + named
        return SinkAway(why, error.retry_after)

    def close(self) -> Deferred[None]:
        if self._closed:
            return succeed(None)
        self._closed = True
        if self._threads.started:
            self._threads.stop()
        return self._server.close()


def parts(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Parts of which all ids, in lines, are together shorter than an answer that is read."""
    start = size = 0
    for at, record in enumerate(records):
        line = len(record.record_id.encode()) + 1
        if size + line > MOST_READ:
            yield records[start:at]
            start, size = at, 0
        size += line
    yield records[start:]
