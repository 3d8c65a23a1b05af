"""The tables of the sink ``postgresql:``, and how they come to be what they are.

::

    EVENTS          one row a record; (journal_id, segment, position) is its record id
    SESSIONS        one row a session and journal, as it stands
    EVENTS_version  which form the two have

A record's id, as exports tell it, is ``journal_id || '-' || segment || '-' || position``.
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from attrs import frozen
from psycopg.sql import SQL, Composed, Identifier

from logui_tx.errors import BadOption, SinkAway

LONGEST_NAME = 48
"""Bytes of a table's name: PostgreSQL takes 63, and indexes have names of their own."""

STAGE = "logui_stage"

# Any number, the same in every release: who makes or changes tables holds this lock.
_LOCK = 0x6C6F67736E6B  # "logsnk"

_EVENT_COLUMNS = (
    "journal_id, segment, position, application_id, flight_id, session_id, seq, received_at, client_time,"
    " clock_offset, dialect, app_data, event, event_text"
)
_SESSION_COLUMNS = (
    "journal_id, session_id, application_id, flight_id, dialect, started_at, ended_at, end_reason,"
    " last_activity, events, user_agent, origin, referrer, device, visitor_id, app_data"
)

_FORMS = (
    (
        """CREATE TABLE {events} (
            journal_id uuid NOT NULL,
            segment bigint NOT NULL,
            position integer NOT NULL,
            application_id text NOT NULL,
            flight_id text NOT NULL,
            session_id text NOT NULL,
            seq bigint NOT NULL,
            received_at timestamptz NOT NULL,
            client_time timestamptz,
            clock_offset bigint,
            dialect text NOT NULL,
            app_data jsonb NOT NULL,
            event jsonb NOT NULL,
            event_text text NOT NULL,
            PRIMARY KEY (journal_id, segment, position)
        )""",
        "CREATE INDEX {events_session} ON {events} (session_id, seq)",
        "CREATE INDEX {events_flight} ON {events} (flight_id, received_at)",
        "CREATE INDEX {events_received} ON {events} USING brin (received_at)",
        """CREATE TABLE {sessions} (
            journal_id uuid NOT NULL,
            session_id text NOT NULL,
            application_id text NOT NULL,
            flight_id text NOT NULL,
            dialect text NOT NULL,
            started_at timestamptz NOT NULL,
            ended_at timestamptz,
            end_reason text,
            last_activity timestamptz NOT NULL,
            events bigint NOT NULL,
            user_agent text,
            origin text,
            referrer text,
            device jsonb,
            visitor_id text,
            app_data jsonb NOT NULL,
            PRIMARY KEY (session_id, journal_id)
        )""",
        "CREATE INDEX {sessions_flight} ON {sessions} (flight_id, started_at)",
    ),
)
"""The statements that lead from each form of the tables to the next; what was released is not changed."""


_AS_MADE = f"""
SELECT c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relhasrules AND NOT c.relrowsecurity
AND {_EVENT_COLUMNS.count(",") + 1} = (
    SELECT count(*) FROM pg_attribute s JOIN pg_attribute e USING (attname, atttypid)
    WHERE s.attrelid = 'pg_temp.{STAGE}'::regclass AND s.attnum > 0
    AND e.attrelid = c.oid AND e.attidentity = '' AND e.attgenerated = ''
)
AND EXISTS (
    SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
    AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = 3 AND 3 = (
        SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        AND a.attname IN ('journal_id', 'segment', 'position')
    )
)
FROM pg_class c WHERE c.oid = %(events)s::regclass
"""  # noqa: S608 - our own
"""Whether a table has its columns with the types of the stage's, and the key."""

_ALONE = """
AND c.relkind = 'r' AND NOT c.relhastriggers
AND 1 = (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion))
"""
"""Whether, besides, nothing makes a row wait for others that are not written for good yet."""


@frozen
class Tables:
    """Names as users write them, without quotes; ``schema`` None: as the server's search_path has it."""

    schema: str | None
    events: str
    sessions: str

    def statement(self, text: str) -> Composed:
        """With the names put in, quoted; the indexes' are without the schema."""
        names = {name: self._named(getattr(self, name)) for name in ("events", "sessions")}
        return SQL(text).format(
            **names,
            version=self._named(f"{self.events}_version"),
            stage=Identifier(STAGE),
            schema=Identifier(self.schema or ""),
            events_session=Identifier(f"{self.events}_session"),
            events_flight=Identifier(f"{self.events}_flight"),
            events_received=Identifier(f"{self.events}_received"),
            sessions_flight=Identifier(f"{self.sessions}_flight"),
        )

    def _named(self, table: str) -> Identifier:
        return Identifier(table) if self.schema is None else Identifier(self.schema, table)


def read_tables(events: str, sessions: str | None) -> Tables:
    """Of the parameters ``table`` and ``sessions``. Raises :class:`BadOption`."""
    schema, dot, table = events.rpartition(".")
    if sessions is None:
        stem = table.removesuffix("events")
        sessions = f"{stem}sessions" if stem != table else f"{table}_sessions"
    for parameter, name in (("table", table), ("table", schema), ("sessions", sessions)):
        if "." in name:
            raise BadOption(
                f"sink: postgresql: {parameter}: one dot at most is expected, as in table=schema.events"
            )
        if "%" in name:
            raise BadOption(f"sink: postgresql: {parameter}: a name without % is expected")
        if not (name or (name is schema and not dot)) or "\0" in name or len(name.encode()) > LONGEST_NAME:
            raise BadOption(f"sink: postgresql: {parameter}: a name of 1 to {LONGEST_NAME} bytes is expected")
        if name == STAGE:
            raise BadOption(
                f"sink: postgresql: {parameter}: {STAGE} is the name of a table of the sink's own"
            )
    if sessions in (table, f"{table}_version"):
        raise BadOption("sink: postgresql: sessions: a table of its own is expected")
    return Tables(schema or None, table, sessions)


def prepare(connection: psycopg.Connection[Any], tables: Tables) -> None:
    """Makes the tables, or brings them up to date; quick when they are. Safe in many processes at once.

    Raises :class:`SinkAway` where a newer version wrote them, and what psycopg raises.
    """
    if _form(connection, tables) != len(_FORMS):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            _change(connection, tables)
    # Rows are gathered here: only a table can be copied into, and only a query can leave out what is there.
    connection.execute(
        tables.statement(
            """CREATE TEMP TABLE IF NOT EXISTS {stage} (
                journal_id uuid, segment bigint, position integer, application_id text, flight_id text,
                session_id text, seq bigint, received_at timestamptz, client_time timestamptz,
                clock_offset bigint, dialect text, app_data jsonb, event jsonb, event_text text
            ) ON COMMIT DELETE ROWS"""
        )
    )


def may_copy_directly(connection: psycopg.Connection[Any], tables: Tables) -> bool:
    """Whether rows may go into the table of events itself, for the rest of the transaction.

    Only as it was made: by others a binary row would be misread, and without its key nothing would keep a
    row from being there twice. What of that cannot be, the stage's insertion tells.
    """
    return _locked_and_looked_at(connection, tables, "", _AS_MADE)


def may_copy_abreast(connection: psycopg.Connection[Any], tables: Tables) -> bool:
    """Whether they may where others of ours do at the same time, and wait for us.

    Raises what psycopg raises where there is something to wait for; later, where it took more than a second.
    """
    # An index may be locked by itself, and a default or a check may take what locks it likes.
    connection.execute("SET LOCAL lock_timeout = '1s'")
    return _locked_and_looked_at(connection, tables, " NOWAIT", _AS_MADE + _ALONE)


def _locked_and_looked_at(
    connection: psycopg.Connection[Any], tables: Tables, how: str, question: LiteralString
) -> bool:
    # Keeps whoever would change the table waiting. It is the lock that copying takes, so that it need not be
    # raised later; and it looks at nothing yet: what is looked at next is how the table stands with it.
    connection.execute(tables.statement(f"LOCK TABLE ONLY {{events}} IN ROW EXCLUSIVE MODE{how}"))
    row = connection.execute(
        question, {"events": tables.statement("{events}").as_string(connection)}
    ).fetchone()
    return row is not None and bool(row[0])


def copy_directly(tables: Tables) -> Composed:
    """Into the table of events, whose key refuses all where one is there."""
    return _copy(tables, "{events}")


def copy_in(tables: Tables) -> Composed:
    """Into the stage, for a transaction."""
    return _copy(tables, "pg_temp.{stage}")


def _copy(tables: Tables, table: str) -> Composed:
    return tables.statement(f"COPY {table} ({_EVENT_COLUMNS}) FROM STDIN (FORMAT binary)")


def insert_events(tables: Tables) -> Composed:
    """From the stage what is not there yet."""
    return tables.statement(
        f"INSERT INTO {{events}} ({_EVENT_COLUMNS}) SELECT {_EVENT_COLUMNS} FROM pg_temp.{{stage}}"  # noqa: S608
        " ON CONFLICT (journal_id, segment, position) DO NOTHING"
    )


def put_session(tables: Tables) -> Composed:
    """A session as it stands, of the columns' values in their order."""
    names = _SESSION_COLUMNS.split(", ")
    return tables.statement(
        f"INSERT INTO {{sessions}} ({_SESSION_COLUMNS}) VALUES ({', '.join(['%s'] * len(names))})"  # noqa: S608
        " ON CONFLICT (session_id, journal_id) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in names[2:])
    )


def _form(connection: psycopg.Connection[Any], tables: Tables) -> int:
    """Which form the tables have; 0 where there are none."""
    try:
        # Asked by what locks it, not by to_regclass: that may not know yet what others have just made.
        with connection.transaction():
            row = connection.execute(tables.statement("SELECT max(form) FROM {version}")).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return 0
    form = int(row[0] or 0) if row else 0
    if form > len(_FORMS):
        raise SinkAway("the tables were written by a newer version of logui-tx")
    return form


def _change(connection: psycopg.Connection[Any], tables: Tables) -> None:
    """In a transaction, with the lock."""
    form = _form(connection, tables)
    if tables.schema is not None:
        # Only who may make schemas may also ask that there be one.
        found = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (tables.schema,))
        if found.fetchone() is None:
            connection.execute(tables.statement("CREATE SCHEMA {schema}"))
    if form == 0:
        connection.execute(
            tables.statement(
                "CREATE TABLE {version} (form integer NOT NULL, at timestamptz NOT NULL DEFAULT now())"
            )
        )
    for number, statements in enumerate(_FORMS[form:], form + 1):
        for statement in statements:
            connection.execute(tables.statement(statement))
        connection.execute(tables.statement("INSERT INTO {version} (form) VALUES (%s)"), (number,))
