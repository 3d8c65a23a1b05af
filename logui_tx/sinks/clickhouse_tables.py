"""The tables of a ``clickhouse:`` sink: their columns, the statements, and the rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from attrs import frozen

from logui_tx.dialects.times import to_iso_8601
from logui_tx.errors import BadOption
from logui_tx.model import Record, Session
from logui_tx.records import plain

WINDOW = 1_000
"""How many inserts a table remembers; one is enough, unless other sinks write to it too."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_WORD = "LowCardinality(String)"
_TIME = "DateTime64(3, 'UTC')"

EVENTS = {
    "record_id": "String",
    "application_id": _WORD,
    "flight_id": _WORD,
    "session_id": "String",
    "seq": "UInt64",
    "received_at": _TIME,
    "client_time": "Nullable(Int64)",
    "clock_offset": "Nullable(Int64)",
    "dialect": _WORD,
    "app_data": "String",
    "event": "String",
}
SESSIONS = {
    "session_id": "String",
    "application_id": _WORD,
    "flight_id": _WORD,
    "dialect": _WORD,
    "started_at": _TIME,
    "ended_at": f"Nullable({_TIME})",
    "end_reason": "LowCardinality(Nullable(String))",
    "events": "UInt64",
    "user_agent": "Nullable(String)",
    "origin": "Nullable(String)",
    "referrer": "Nullable(String)",
    "device": "Nullable(String)",
    "visitor_id": "Nullable(String)",
    "app_data": "String",
    "version": "UInt64",
}
"""A column that a later release adds is added to tables that are there: it needs a type with a default."""


@frozen
class Table:
    """``name`` is quoted; ``columns`` are types by name."""

    name: str
    columns: dict[str, str]
    engine: str
    order: str

    @property
    def replicated(self) -> bool:
        return self.engine.startswith("Replicated")

    def describe(self) -> str:
        return f"DESCRIBE TABLE {self.name} FORMAT TabSeparated"

    def create(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({columns}) ENGINE = {self.engine} {self.order}"

    def migrate(self, there: set[str]) -> Iterator[str]:
        """What adds the columns that a table with these does not have."""
        for name, kind in self.columns.items():
            if name not in there:
                yield f"ALTER TABLE {self.name} ADD COLUMN IF NOT EXISTS {name} {kind}"

    def insert(self) -> str:
        return f"INSERT INTO {self.name} ({', '.join(self.columns)}) FORMAT JSONEachRow"

    def find(self, records: Sequence[Record]) -> str:
        """The ids of those that are there, one a line; flight and session are what the table is sorted by."""
        wanted = {
            "flight_id": {record.flight_id for record in records},
            "session_id": {record.session_id for record in records},
            "record_id": {record.record_id for record in records},
        }
        where = " AND ".join(
            f"{name} IN ({', '.join(map(_quoted, sorted(values)))})" for name, values in wanted.items()
        )
        return f"SELECT DISTINCT record_id FROM {self.name} WHERE {where} FORMAT TabSeparated"  # noqa: S608 - quoted


def read_tables(path: str, sessions: str | None, engine: str) -> tuple[Table, Table | None]:
    """Of events and sessions, from the URI's path. Raises :class:`BadOption`."""
    database, _, events = path.strip("/").rpartition(".")
    database = database or "default"
    sessions = sessions or f"{events}_sessions"
    if not all(_NAME.fullmatch(name) for name in (database, events, sessions)):
        raise BadOption(
            "sink: clickhouse: a table is expected, clickhouse://host/database.table: letters, digits and _"
        )
    if sessions == events:
        raise BadOption(
            "sink: clickhouse: the sessions need a table of their own; sessions-table=none for none"
        )
    window = {
        "ReplacingMergeTree": f"non_replicated_deduplication_window = {WINDOW}",
        "ReplicatedReplacingMergeTree": f"replicated_deduplication_window = {WINDOW}",
    }[engine]
    return (
        Table(
            f"`{database}`.`{events}`",
            EVENTS,
            engine,
            "PARTITION BY toYYYYMM(received_at) ORDER BY (flight_id, session_id, seq, record_id) "
            f"SETTINGS {window}",
        ),
        None
        if sessions == "none"
        else Table(f"`{database}`.`{sessions}`", SESSIONS, f"{engine}(version)", "ORDER BY session_id"),
    )


def event_row(record: Record) -> dict[str, Any]:
    return {
        "record_id": record.record_id,
        "application_id": record.application_id,
        "flight_id": record.flight_id,
        "session_id": record.session_id,
        "seq": record.seq,
        "received_at": _time(record.received_at),
        "client_time": record.client_time,
        "clock_offset": record.clock_offset,
        "dialect": record.dialect,
        "app_data": record.app_data.decode(),
        "event": record.event.decode(),
    }


def session_row(session: Session) -> dict[str, Any]:
    """The row that was active last is the session's; of two, the one in which it has ended."""
    return {
        "session_id": session.id,
        "application_id": session.application_id,
        "flight_id": session.flight_id,
        "dialect": session.dialect,
        "started_at": _time(to_iso_8601(session.started_at)),
        "ended_at": None if session.ended_at is None else _time(to_iso_8601(session.ended_at)),
        "end_reason": session.end_reason,
        "events": session.events,
        "user_agent": plain(session.user_agent),
        "origin": plain(session.origin),
        "referrer": plain(session.referrer),
        "device": plain(session.device),
        "visitor_id": session.visitor_id,
        "app_data": session.app_data.decode(),
        "version": session.last_activity * 2 + (session.ended_at is not None),
    }


def lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """For JSONEachRow."""
    return b"\n".join(map(msgspec.json.encode, rows))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _time(iso_8601: str) -> str:
    """As ClickHouse reads it whatever its settings are; the columns are in UTC."""
    return iso_8601.replace("T", " ").removesuffix("Z")
