"""A stand-in for ClickHouse's HTTP interface; see :mod:`tests.integration.clickhouse`.

It knows the statements that the sink and its tests say, and no others::

    DESCRIBE TABLE t FORMAT TabSeparated
    CREATE TABLE IF NOT EXISTS t (…) ENGINE = …
    ALTER TABLE t ADD COLUMN IF NOT EXISTS name type, DROP COLUMN name, ADD CONSTRAINT name CHECK seq != n
    DROP TABLE t
    INSERT INTO t (…) FORMAT JSONEachRow
    SELECT * FROM t [FINAL] [ORDER BY …] FORMAT JSONEachRow
    SELECT DISTINCT record_id FROM t WHERE … AND record_id IN ('…') FORMAT TabSeparated

As ClickHouse does, it commits an insert a partition at a time, remembers the tokens of the last inserts of a
table that has a window, checks values and constraints before anything is kept, wants user and password in
headers, and tells an error by status, header and text. It keeps everything in SQLite: what it has answered is
there after kill -9. ``POST /fail?code=252&times=2`` makes the next statements fail; with ``code=-1``
the process dies in the next insert, as a real one may: with the token noted and without the rows.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

NAMES = r"`(\w+)`\.`(\w+)`"
SETTINGS = {
    "wait_end_of_query",
    "async_insert",
    "insert_deduplicate",
    "insert_deduplication_token",
    "input_format_parallel_parsing",
    "max_insert_block_size",
    "min_insert_block_size_rows",
    "min_insert_block_size_bytes",
    "max_query_size",
    "max_execution_time",
}
TABLES = """
CREATE TABLE IF NOT EXISTS tables (name TEXT PRIMARY KEY, columns TEXT, engine TEXT, checks TEXT);
CREATE TABLE IF NOT EXISTS parts (n INTEGER PRIMARY KEY, name TEXT, rows TEXT);
CREATE TABLE IF NOT EXISTS tokens (n INTEGER PRIMARY KEY, name TEXT, token TEXT);
"""
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")


class Failed(Exception):
    def __init__(self, code: int, text: str, status: int = 500) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}")
        self.code = code
        self.status = status


class Engine:
    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.one = threading.Lock()
        self.dying = False
        self.database.executescript(TABLES)

    def run(self, query: str, settings: dict[str, str], body: bytes) -> bytes:
        for setting in settings:
            if setting not in SETTINGS:
                raise Failed(
                    115, f"Setting {setting} is neither a builtin setting nor started with the prefix", 404
                )
        for pattern, do in (
            (rf"DESCRIBE TABLE {NAMES} FORMAT TabSeparated", self._describe),
            (rf"CREATE TABLE IF NOT EXISTS {NAMES} \((.*)\) ENGINE = (.*)", self._create),
            (rf"ALTER TABLE {NAMES} (.*)", self._alter),
            (rf"DROP TABLE {NAMES}", self._drop),
            (
                rf"SELECT DISTINCT record_id FROM {NAMES} WHERE .* AND record_id IN \((.*)\) "
                "FORMAT TabSeparated",
                self._find,
            ),
            (rf"SELECT \* FROM {NAMES}( FINAL)?( ORDER BY .*)? FORMAT JSONEachRow", self._select),
        ):
            if match := re.fullmatch(pattern, query):
                return do(*match.groups()) or b""
        if match := re.fullmatch(rf"INSERT INTO {NAMES} \((.*)\) FORMAT JSONEachRow", query):
            self._insert(*match.groups(), body, settings.get("insert_deduplication_token"))
            return b""
        raise Failed(62, f"Syntax error: failed at position 1: {query[:50]}", 400)

    def _table(self, database: str, name: str) -> tuple[str, dict[str, str], str, list[int]]:
        full = f"{database}.{name}"
        found = self.database.execute("SELECT * FROM tables WHERE name = ?", (full,)).fetchone()
        if database != "default":
            raise Failed(81, f"Database {database} does not exist. (UNKNOWN_DATABASE)", 404)
        if found is None:
            raise Failed(60, f"Table {full} does not exist. (UNKNOWN_TABLE)", 404)
        return full, json.loads(found[1]), found[2], json.loads(found[3])

    def _describe(self, database: str, name: str) -> bytes:
        _, columns, _, _ = self._table(database, name)
        return "".join(f"{name}\t{kind}\t\t\t\t\t\n" for name, kind in columns.items()).encode()

    def _create(self, database: str, name: str, columns: str, engine: str) -> None:
        pairs = dict(one.split(" ", 1) for one in re.split(r", (?=[a-z_]+ [A-Z])", columns))
        self.database.execute(
            "INSERT OR IGNORE INTO tables VALUES (?, ?, ?, '[]')",
            (f"{database}.{name}", json.dumps(pairs), engine),
        )

    def _alter(self, database: str, name: str, what: str) -> None:
        full, columns, _, checks = self._table(database, name)
        if match := re.fullmatch(r"ADD COLUMN IF NOT EXISTS (\w+) (.*)", what):
            columns.setdefault(*match.groups())
        elif match := re.fullmatch(r"DROP COLUMN (\w+)", what):
            del columns[match[1]]
        elif match := re.fullmatch(r"ADD CONSTRAINT \w+ CHECK seq != (\d+)", what):
            checks.append(int(match[1]))
        else:
            raise Failed(62, f"Syntax error: {what}", 400)
        self.database.execute(
            "UPDATE tables SET columns = ?, checks = ? WHERE name = ?",
            (json.dumps(columns), json.dumps(checks), full),
        )

    def _drop(self, database: str, name: str) -> None:
        full, *_ = self._table(database, name)
        for table in ("tables", "parts", "tokens"):
            self.database.execute(f"DELETE FROM {table} WHERE name = ?", (full,))

    def _insert(self, database: str, name: str, given: str, body: bytes, token: str | None) -> None:
        full, columns, engine, checks = self._table(database, name)
        for column in given.split(", "):
            if column not in columns:
                raise Failed(16, f"No such column {column} in table {full}. (NO_SUCH_COLUMN_IN_TABLE)", 404)
        partitions: dict[str, list[dict[str, Any]]] = {}
        for number, line in enumerate(body.splitlines(), 1):
            row = json.loads(line)
            for column, value in row.items():
                if not fits(columns[column], value):
                    raise Failed(27, f"Cannot parse input: column {column} (at row {number})", 400)
            if row.get("seq") in checks:
                raise Failed(
                    469,
                    f"Constraint `three` for table {full} is violated at row {number}. Column values: {row}",
                )
            partitions.setdefault(row.get("received_at", "")[:7], []).append(row)
        window = re.search(r"non_replicated_deduplication_window = (\d+)", engine)
        for partition, rows in partitions.items():
            self._commit(full, rows, f"{partition}_{token}" if window and token else None, window)

    def _commit(
        self, name: str, rows: list[dict[str, Any]], token: str | None, window: re.Match[str] | None
    ) -> None:
        run = self.database.execute
        if token and run("SELECT 1 FROM tokens WHERE name = ? AND token = ?", (name, token)).fetchone():
            return
        if token and window:
            run("INSERT INTO tokens (name, token) VALUES (?, ?)", (name, token))
            if self.dying:
                os._exit(9)
            newest = "SELECT n FROM tokens WHERE name = ? ORDER BY n DESC LIMIT ?"
            run(f"DELETE FROM tokens WHERE name = ? AND n NOT IN ({newest})", (name, name, int(window[1])))
        run("INSERT INTO parts (name, rows) VALUES (?, ?)", (name, json.dumps(rows)))

    def _find(self, database: str, name: str, ids: str) -> bytes:
        full, *_ = self._table(database, name)
        parts = self.database.execute("SELECT rows FROM parts WHERE name = ?", (full,))
        there = {row["record_id"] for (part,) in parts for row in json.loads(part)}
        return "".join(f"{one}\n" for one in there & set(re.findall("'(.*?)'", ids))).encode()

    def _select(self, database: str, name: str, final: str | None, order: str | None) -> bytes:
        full, columns, engine, _ = self._table(database, name)
        parts = self.database.execute("SELECT rows FROM parts WHERE name = ? ORDER BY n", (full,))
        rows = [{**dict.fromkeys(columns), **row} for (part,) in parts for row in json.loads(part)]
        if final:
            key = (re.search(r"ORDER BY \(?([\w, ]+)", engine) or ["", ""])[1].split(", ")
            newest: dict[tuple[Any, ...], dict[str, Any]] = {}
            for row in rows:
                there = newest.setdefault(tuple(row[one] for one in key), row)
                if row.get("version", 0) >= there.get("version", 0):
                    newest[tuple(row[one] for one in key)] = row
            rows = list(newest.values())
        if order:
            by = order.removeprefix(" ORDER BY ").split(", ")
            rows.sort(key=lambda row: [row[one] for one in by])
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def fits(kind: str, value: Any) -> bool:
    if kind.startswith(("Nullable(", "LowCardinality(")):
        inner = kind.partition("(")[2].removesuffix(")")
        return (value is None and kind.startswith("Nullable(")) or fits(inner, value)
    if kind == "String":
        return isinstance(value, str)
    if kind.startswith("DateTime64"):
        return isinstance(value, str) and _TIME.fullmatch(value) is not None
    # What does not fit into 64 bits is cut by the real one, too.
    return kind in ("UInt64", "Int64") and isinstance(value, int)


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine
    credentials: tuple[str, str]
    failures: list[tuple[int, int]] = []

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if parts.path == "/fail":
            self.engine.dying = asked["code"] == "-1"
            failure = int(asked["code"]), int(asked.get("status", 500))
            self.failures.extend([failure] * int(asked["times"]) if failure[0] >= 0 else [])
            return self._answer(200, b"")
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            given = self.headers.get("X-ClickHouse-User"), self.headers.get("X-ClickHouse-Key", "")
            if given != self.credentials:
                raise Failed(516, f"{given[0]}: Authentication failed. (AUTHENTICATION_FAILED)", 403)
            if self.failures:
                code, status = self.failures.pop(0)
                raise Failed(code, "as the test wants it", status)
            with self.engine.one:
                answer = self.engine.run(asked.pop("query", "") or body.decode(), asked, body)
            self._answer(200, answer)
        except Failed as why:
            self._answer(why.status, str(why).encode(), why.code)

    def _answer(self, status: int, body: bytes, code: int = 0) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        if status == 503:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    port, path, user, password, *certificate = sys.argv[1:]
    Request.engine = Engine(path)
    Request.credentials = user, password
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Request)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate[0])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
