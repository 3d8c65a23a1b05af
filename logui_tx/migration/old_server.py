"""The database of the released LogUI server, as Django keeps it in PostgreSQL: read, never written.

::

    control_application  id, name [, creation_timestamp]
    control_flight       id, application_id, name [, is_active, fqdn, creation_timestamp]
    control_session      id, flight_id [, ua_string, client_start_timestamp, client_end_timestamp,
                         server_start_timestamp, server_end_timestamp]; older:
                         [user_agent, browser, os, device, start_timestamp, end_timestamp]

Its releases differ in what stands in brackets: what is there is read, and nothing else is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from attrs import frozen
from sqlalchemy import Connection, MetaData, Row, Table, select
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from logui_tx.dialects.values import MAX_REFERRER
from logui_tx.errors import BadOption, DatabaseUnusable
from logui_tx.registry.database import read_uri, reason
from logui_tx.registry.postgresql import KINDS, postgresql_engine

_TABLES = {
    "control_application": ("id", "name"),
    "control_flight": ("id", "application_id", "name"),
    "control_session": ("id", "flight_id"),
}
_SERVER_OPTIONS = "-c default_transaction_read_only=on -c lock_timeout=30s"
_PAGE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# What of each is used where it is there.
_FLIGHT = ("is_active", "fqdn", "creation_timestamp")
_STARTS = ("server_start_timestamp", "start_timestamp")
_ENDS = ("server_end_timestamp", "end_timestamp")
_CLIENT = ("client_start_timestamp", "client_end_timestamp")
_AGENT = ("ua_string", "user_agent")
_DEVICE = ("browser", "os", "device")


@frozen
class OldApplication:
    """``created_at`` in UNIX ms, None where that server did not keep it."""

    id: str
    name: str
    created_at: int | None


@frozen
class OldFlight:
    """``fqdn`` is its domain in that server's words."""

    id: str
    application_id: str
    name: str
    active: bool
    fqdn: str | None
    created_at: int | None


@frozen
class OldSession:
    """Times in UNIX ms by that server's clock, but ``client_started_at``; None where they are not known.

    ``device`` is a JSON object of what that server made of the user agent.
    """

    id: str
    flight_id: str
    started_at: int | None
    ended_at: int | None
    client_started_at: int | None
    user_agent: str | None
    device: str | None


class OldServer:
    """One snapshot of its database; see :func:`open_old_server`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tables = {name: _table(connection, name, needed) for name, needed in _TABLES.items()}

    def applications(self) -> list[OldApplication]:
        """The oldest first."""
        rows = self._rows("control_application", ("id", "name"), ("creation_timestamp",))
        found = [OldApplication(_id(row.id), row.name, _time(row, "creation_timestamp")) for row in rows]
        return sorted(found, key=lambda each: (each.created_at or 0, each.name))

    def flights(self) -> list[OldFlight]:
        """The oldest first."""
        found = [
            OldFlight(
                _id(row.id),
                _id(row.application_id),
                row.name,
                _first(row, ("is_active",)) is not False,
                _first(row, ("fqdn",)),
                _time(row, "creation_timestamp"),
            )
            for row in self._rows("control_flight", ("id", "application_id", "name"), _FLIGHT)
        ]
        return sorted(found, key=lambda each: (each.created_at or 0, each.name))

    def sessions(self) -> Iterator[OldSession]:
        """In the order in which they began, read as they are asked for."""
        more = (*_STARTS, *_ENDS, *_CLIENT, *_AGENT, *_DEVICE)
        for row in self._rows("control_session", ("id", "flight_id"), more, order=(*_STARTS, "id")):
            yield _session(row)

    def _rows(
        self, name: str, needed: Iterable[str], wanted: Iterable[str], order: Iterable[str] = ("id",)
    ) -> Iterator[Row[Any]]:
        columns = self._tables[name].c
        query = select(*(columns[each] for each in (*needed, *wanted) if each in columns))
        query = query.order_by(*(columns[each] for each in order if each in columns))
        with _plain_errors():
            options = {"stream_results": True, "yield_per": _PAGE}
            yield from self._connection.execute(query, execution_options=options)


@contextmanager
def open_old_server(uri: str) -> Iterator[OldServer]:
    """Everything that is read through it is of one moment.

    Raises :class:`BadOption` for the URI, :class:`DatabaseUnusable` for what is behind it; neither text ever
    holds the URI or its password.
    """
    url = read_uri(uri)
    if url.drivername not in KINDS:
        raise BadOption(
            "the LogUI server's database is a PostgreSQL: postgresql://USER:PASSWORD@HOST/DATABASE is"
            f" expected, not {url.drivername!a}"
        )
    engine = postgresql_engine(url, _SERVER_OPTIONS)
    try:
        with _plain_errors():
            connection = engine.connect()
        with connection:
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            with _plain_errors():
                server = OldServer(connection)
            yield server
    finally:
        engine.dispose()


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise DatabaseUnusable(f"the LogUI server's database cannot be read: {reason(error)}") from error


def _table(connection: Connection, name: str, needed: Iterable[str]) -> Table:
    try:
        table = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
    except NoSuchTableError:
        raise DatabaseUnusable(
            f"this is not the database of a LogUI server: it has no table {name}"
        ) from None
    for column in needed:
        if column not in table.c:
            raise DatabaseUnusable(
                f"this is not the database of a LogUI server: its table {name} has no {column}"
            )
    return table


def _session(row: Row[Any]) -> OldSession:
    started_at = _time(row, *_STARTS)
    client_started_at = _time(row, "client_start_timestamp")
    ended_at = _time(row, *_ENDS)
    if started_at is None:
        started_at = client_started_at
    if ended_at is None:
        ended_at = _time(row, "client_end_timestamp")
        if None not in (ended_at, started_at, client_started_at):
            ended_at -= client_started_at - started_at  # type: ignore[operator]
    device = {name: _first(row, (name,)) for name in _DEVICE}
    told = {name: value for name, value in device.items() if value}
    agent = _first(row, _AGENT)
    return OldSession(
        id=_id(row.id),
        flight_id=_id(row.flight_id),
        started_at=started_at,
        ended_at=ended_at,
        client_started_at=client_started_at,
        user_agent=agent[:MAX_REFERRER] if agent else None,
        device=msgspec.json.encode(told).decode() if told else None,
    )


def _first(row: Row[Any], names: Iterable[str]) -> Any:
    """The value of the first of these columns that is there and not null."""
    found = (row._mapping.get(name) for name in names)
    return next((value for value in found if value is not None), None)


def _time(row: Row[Any], *names: str) -> int | None:
    moment = _first(row, names)
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int((moment - _EPOCH) // _MILLISECOND)


def _id(value: Any) -> str:
    """As this server writes ids; also where a database keeps them as text."""
    return str(value if isinstance(value, UUID) else UUID(str(value)))
