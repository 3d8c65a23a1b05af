"""``clickhouse:`` inserts each batch over ClickHouse's HTTP interface.

**Once in effect.** A batch stays as it is (:meth:`ClickHouseSink.prepare`) and goes in as one block a
partition, with its id as ``insert_deduplication_token``: what is offered again is known to the table, and
dropped there. A session's newest row replaces the others.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import treq
from attrs import frozen
from OpenSSL.SSL import Error as SSLError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.threads import deferToThreadPool
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from zope.interface import implementer

from logui_tx.errors import BadOption, RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import SinkBatch, SinkURI
from logui_tx.sinks import clickhouse_tables as tables
from logui_tx.sinks.clickhouse_tables import Table
from logui_tx.threads import daemon_pool

CONNECT_TIMEOUT = 10.0
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

LONGEST_TEXT = 300
"""Characters of what ClickHouse says that are told."""

UNKNOWN_TABLE = 60

REFUSED = {6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 128, 131, 321, 349, 407, 469, 691}
"""Of ClickHouse's error codes those that say that a value cannot be taken, now or later: it cannot be parsed,
is out of its type's range, or violates a constraint."""

SETTINGS = {
    # An error is told by the answer's status, and 200 means that all of it is there.
    "wait_end_of_query": "1",
    "async_insert": "0",
    "insert_deduplicate": "1",
    # All rows of a partition are one block: it is there, or it is not.
    "input_format_parallel_parsing": "0",
    "max_insert_block_size": "1048576",
    "min_insert_block_size_rows": "1048576",
    "min_insert_block_size_bytes": "0",
}


@frozen
class ClickHouseError(Exception):
    """``code`` is ClickHouse's own, 0 where it said none."""

    status: int
    code: int
    text: str
    retry_after: float = 0.0


@implementer(ISink)
class ClickHouseSink:
    """See :class:`ISink`."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        given = uri.parameters
        self._events, self._sessions = tables.read_tables(uri.path, given["sessions-table"], given["engine"])
        self._url = _url(uri)
        self._settings = {**SETTINGS, **_given(given["setting"])}
        self._gzip: bool = given["gzip"] == "yes"
        self._timeout: float = given["timeout"]
        # Not in the URL: those end up in logs.
        self._headers = {"X-ClickHouse-User": uri.user or "default"}
        if uri.password is not None:
            self._headers["X-ClickHouse-Key"] = uri.password
        self._reactor = reactor
        self._connections = HTTPConnectionPool(reactor)
        agent = Agent(reactor, _policy(uri), CONNECT_TIMEOUT, pool=self._connections)
        self._client = HTTPClient(agent)
        self._threads = daemon_pool("clickhouse", 1)
        self._closed = False

    def open(self, state: bytes) -> Deferred[None]:  # noqa: ARG002
        """Makes the tables, and adds what columns they lack."""
        if not self._threads.started:
            self._threads.start()
        return Deferred.fromCoroutine(self._open())

    def prepare(self, batch: SinkBatch) -> Deferred[bytes]:  # noqa: ARG002
        """Nothing; but now the batch is offered again as it is."""
        return succeed(b"")

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        """See :meth:`ISink.write`."""
        return Deferred.fromCoroutine(self._write(batch))

    async def _open(self) -> None:
        for table in filter(None, (self._events, self._sessions)):
            try:
                there = await self._ask(table.describe())
            except ClickHouseError as error:
                if error.code != UNKNOWN_TABLE:
                    raise self._explained(error) from None
                await self._changed(table.create())
            else:
                names = {line.partition(b"\t")[0].decode(errors="replace") for line in there.splitlines()}
                for statement in table.migrate(names):
                    await self._changed(statement)

    async def _changed(self, statement: str) -> None:
        try:
            await self._ask(statement)
        except ClickHouseError as error:
            raise self._explained(error) from None

    async def _write(self, batch: SinkBatch) -> bytes:
        # A session that is refused must not leave events behind; one that is there already does no harm.
        if self._sessions is not None and batch.sessions:
            rows = [tables.session_row(session) for session in batch.sessions]
            await self._insert(self._sessions, rows, {})
        if batch.records:
            rows = [tables.event_row(record) for record in batch.records]
            await self._insert(self._events, rows, {"insert_deduplication_token": batch.id})
        return b""

    async def _insert(self, table: Table, rows: Sequence[dict[str, Any]], settings: dict[str, str]) -> None:
        body = await deferToThreadPool(self._reactor, self._threads, _body, rows, self._gzip)
        try:
            await self._ask(table.insert(), body, settings)
        except ClickHouseError as error:
            why = self._explained(error)
            raise why from None

    async def _ask(
        self, query: str, body: bytes | None = None, settings: dict[str, str] | None = None
    ) -> bytes:
        """What ClickHouse answers. Raises :class:`ClickHouseError` and :class:`SinkAway`."""
        asked = {**self._settings, **(settings or {}), "query": query}
        headers = dict(self._headers)
        if body is not None and self._gzip:
            headers["Content-Encoding"] = "gzip"
        asking = Deferred.fromCoroutine(self._post(f"{self._url}?{urlencode(asked)}", headers, body or b""))
        asking.addTimeout(self._timeout, self._reactor)
        try:
            return await asking
        except TwistedTimeoutError:
            raise SinkAway(f"no answer within {self._timeout:g} s") from None
        except ConnectError as error:
            raise SinkAway(f"it cannot be reached: {error}") from None
        except ResponseFailed as error:
            reason = error.reasons[0].value if error.reasons else error
            raise SinkAway(f"the connection was lost: {reason}") from None

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> bytes:
        response = await self._client.post(
            url, headers=Headers({k: [v] for k, v in headers.items()}), data=body
        )
        answer: bytes = await treq.content(response)
        code = (response.headers.getRawHeaders("X-ClickHouse-Exception-Code") or ["0"])[0]
        if response.code == 200 and code == "0":
            return answer
        after = (response.headers.getRawHeaders("Retry-After") or [""])[0]
        text = " ".join(answer.decode(errors="replace").split())[:LONGEST_TEXT]
        raise ClickHouseError(
            response.code,
            int(code) if code.isdigit() else 0,
            text,
            float(after) if after.isdigit() else 0.0,
        )

    def _explained(self, error: ClickHouseError) -> SinkAway | RecordsRefused:
        if error.code in REFUSED:
            return RecordsRefused(error.text)
        if error.code == 0 and error.status == 413:
            return RecordsRefused("the request is too large for a server in between (413)")
        return SinkAway(f"{error.status}: {error.text}", error.retry_after)

    def close(self) -> Deferred[None]:
        if self._closed:
            return succeed(None)
        self._closed = True
        if self._threads.started:
            self._threads.stop()
        closing: Deferred[None] = self._connections.closeCachedConnections()
        return closing


def _body(rows: Sequence[dict[str, Any]], compress: bool) -> bytes:
    body = tables.lines(rows)
    return gzip.compress(body, compresslevel=1) if compress else body


def _url(uri: SinkURI) -> str:
    host, port = uri.host, ""
    if not host.endswith("]"):
        host, colon, port = uri.host.rpartition(":")
        host = host if colon else uri.host
        port = port if colon else ""
    if not host or "," in host or (port and not port.isdecimal()):
        raise BadOption("sink: clickhouse: one host is expected, clickhouse://host:8123/database.table")
    secure = uri.scheme == "clickhouses"
    return f"{'https' if secure else 'http'}://{host}:{port or ('8443' if secure else '8123')}/"


def _policy(uri: SinkURI) -> BrowserLikePolicyForHTTPS:
    ca = uri.parameters["ca"]
    if ca is None:
        return BrowserLikePolicyForHTTPS()
    try:
        found = [Certificate.loadPEM(one) for one in _CERTIFICATE.findall(Path(ca).read_bytes())]
    except (OSError, SSLError) as error:
        raise BadOption(f"sink: clickhouse: ca: {error or 'it cannot be read'}") from None
    if not found:
        raise BadOption("sink: clickhouse: ca: a file of certificates (PEM) is expected")
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(found))


def _given(settings: Sequence[str]) -> dict[str, str]:
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.isidentifier():
            raise BadOption("sink: clickhouse: a setting is written setting=name=value")
        if name in SETTINGS or name in ("query", "user", "password", "insert_deduplication_token"):
            raise BadOption(f"sink: clickhouse: the setting {name} is the sink's own")
        found[name] = value
    return found
