"""``clickhouse:`` as far as it needs no server: its URI, statements and rows."""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import BadOption, RecordsRefused, SinkAway
from logui_tx.sinks import clickhouse_tables as tables
from logui_tx.sinks.clickhouse import ClickHouseSink, parts
from logui_tx.sinks.clickhouse_http import ClickHouseError
from logui_tx.sinks.clickhouse_tables import EVENTS, SESSIONS, event_row, read_tables, session_row
from logui_tx.sinks.posting import MOST_READ
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import make_record, make_session
from logui_tx.testing.sink_contract import HOSTILE, made

PASSWORD = "hunter2-geheim"


def make(uri: str) -> ClickHouseSink:
    maker, read, _ = read_uri(uri, sink_makers())
    found = maker.make(read, reactor)
    assert isinstance(found, ClickHouseSink)
    return found


class UriTests(SynchronousTestCase):
    def test_the_url(self) -> None:
        for uri, url in (
            ("clickhouse://db.example.org/logs.events", "http://db.example.org:8123/"),
            ("clickhouses://db.example.org/logs.events", "https://db.example.org:8443/"),
            (f"clickhouse://logui:{PASSWORD}@192.0.2.1:9000/events", "http://192.0.2.1:9000/"),
        ):
            self.assertEqual(make(uri)._server._url, url)

    def test_the_password_goes_into_a_header(self) -> None:
        server = make(f"clickhouse://logui:{PASSWORD}@db/events")._server
        self.assertEqual(server._headers, {"X-ClickHouse-User": "logui", "X-ClickHouse-Key": PASSWORD})
        self.assertNotIn(PASSWORD, server._url)

    def test_what_would_be_right(self) -> None:
        with TemporaryDirectory() as folder:
            no_certificate = Path(folder) / "ca.pem"
            no_certificate.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
            empty = Path(folder) / "empty.pem"
            empty.write_text("")
            for uri, hint in (
                ("clickhouse:logs.events", "clickhouse://host:8123/database.table"),
                ("clickhouse://a,b/logs.events", "one host"),
                ("clickhouse://a:port/logs.events", "one host"),
                ("clickhouse://a%20b/logs.events", "one host"),
                ("clickhouse://a:/logs.events", "one host"),
                ("clickhouse://a:99999/logs.events", "a port is a number from 1 to 65535"),
                ("clickhouses://a:0/logs.events", "a port is a number from 1 to 65535"),
                ("clickhouse://[::1]/logs.events", "give it a name"),
                ("clickhouse://[::1]:9000/logs.events", "give it a name"),
                ("clickhouse://a", "a table is expected"),
                ("clickhouse://a/logs.my-events", "letters, digits and _"),
                ("clickhouse://a/x`; DROP TABLE y", "letters, digits and _"),
                ("clickhouse://a/logs.events?sessions-table=b.c", "letters, digits and _"),
                ("clickhouse://a/logs.events?sessions-table=events", "a table of their own"),
                ("clickhouse://a/logs.events?engine=Log", "one of ReplacingMergeTree"),
                ("clickhouse://a/logs.events?setting=x", "setting=name=value"),
                ("clickhouse://a/logs.events?setting=async_insert=1", "async_insert is the sink's own"),
                ("clickhouse://a/logs.events?setting=password=x", "password is the sink's own"),
                (f"clickhouses://a/logs.events?ca={folder}/none", "ca: "),
                (f"clickhouses://a/logs.events?ca={no_certificate}", "ca: "),
                (f"clickhouses://a/logs.events?ca={empty}", "certificates"),
            ):
                with self.assertRaisesRegex(BadOption, f"^sink: clickhouse: .*{hint}", msg=uri):
                    make(uri)


class RefusalTests(SynchronousTestCase):
    def test_nothing_of_the_record_is_told(self) -> None:
        """A reason is kept, and shown to operators."""
        sink = make("clickhouse://db/events")
        for code, text, why in (
            (27, 'parsed text: "my secret" (CANNOT_PARSE_INPUT_ASSERTION_FAILED)', "27 CANNOT_PARSE_INPUT_"),
            (
                469,
                "Code: 469. DB::Exception: Constraint `c` for table t is violated; secret",
                "CONSTRAINT: c",
            ),
            (469, "Code: 469. DB::Exception: Constraint secret", "469 VIOLATED_CONSTRAINT"),
            (53, "Code: 469. DB::Exception: Constraint `secret` for table", "53 TYPE_MISMATCH"),
        ):
            found = sink._explained(ClickHouseError(400, code, text))
            self.assertIsInstance(found, RecordsRefused)
            self.assertIn(why, str(found))
            self.assertNotIn("secret", str(found))

    def test_nor_of_what_may_pass(self) -> None:
        """The trouble is logged, and shown to operators."""
        sink = make("clickhouse://db/events")
        for status, code, text, why in (
            (500, 241, "Code: 241. Memory limit: (at row 1) my secret", "500: 241 MEMORY_LIMIT_EXCEEDED"),
            (500, 4711, "Code: 4711. secret (SECRET)", "500: 4711"),
            (502, 0, "<html>secret</html>", "answered 502 Bad Gateway"),
            (599, 0, "secret", "answered 599"),
            (
                404,
                16,
                "Code: 16. DB::Exception: No such column clock_offset in table default.t. secret",
                "404: 16 NO_SUCH_COLUMN_IN_TABLE: clock_offset",
            ),
            (
                404,
                16,
                "Code: 16. DB::Exception: No such column secret in table default.t",
                "404: 16 NO_SUCH_COLUMN_IN_TABLE",
            ),
        ):
            found = sink._explained(ClickHouseError(status, code, text, 7.0))
            assert isinstance(found, SinkAway)
            self.assertEqual((str(found), found.retry_after), (why, 7.0))


class StatementTests(SynchronousTestCase):
    def test_the_tables(self) -> None:
        events, sessions = read_tables("/logs.events", None, "ReplacingMergeTree")
        assert sessions is not None
        self.assertEqual((events.name, sessions.name), ("`logs`.`events`", "`logs`.`events_sessions`"))
        self.assertIn("non_replicated_deduplication_window = 1000", events.create())
        self.assertIn("ENGINE = ReplacingMergeTree(version) ORDER BY session_id", sessions.create())
        # What was refused as a repetition would be newer.
        self.assertNotIn("window", sessions.create())
        events, sessions = read_tables("/events", "none", "ReplicatedReplacingMergeTree")
        self.assertEqual((events.name, sessions), ("`default`.`events`", None))
        self.assertIn(" replicated_deduplication_window = 1000", events.create())

    def test_only_what_is_missing_is_added(self) -> None:
        events, _ = read_tables("/events", None, "ReplacingMergeTree")
        self.assertEqual(list(events.migrate(set(EVENTS))), [])
        self.assertEqual(
            list(events.migrate({*EVENTS, "mine"} - {"dialect"})),
            ["ALTER TABLE `default`.`events` ADD COLUMN IF NOT EXISTS dialect LowCardinality(String)"],
        )

    def test_what_is_looked_for(self) -> None:
        events, _ = read_tables("/events", None, "ReplacingMergeTree")
        [first, second] = made([1, 2])
        odd = replace(second, session_id="s'1\\")
        self.assertEqual(
            events.find([first, odd]),
            "SELECT DISTINCT record_id FROM `default`.`events` "
            f"WHERE flight_id IN ('{first.flight_id}') AND session_id IN ('s\\'1\\\\', 's1') "
            f"AND record_id IN ('{first.record_id}', '{second.record_id}') FORMAT TabSeparated",
        )


class PartsTests(SynchronousTestCase):
    @given(st.lists(st.integers(1, MOST_READ - 1), max_size=30))
    def test_no_answer_is_longer_than_what_is_read(self, lengths: list[int]) -> None:
        records = [replace(make_record(n + 1), record_id="x" * length) for n, length in enumerate(lengths)]
        found = list(parts(records))
        self.assertEqual([one for some in found for one in some], records)
        for some in found:
            self.assertLessEqual(sum(len(one.record_id) + 1 for one in some), MOST_READ)


class RowTests(SynchronousTestCase):
    def test_each_column_has_a_value(self) -> None:
        self.assertEqual(list(event_row(make_record(1))), list(EVENTS))
        self.assertEqual(list(session_row(make_session())), list(SESSIONS))

    def test_events_are_texts_as_they_came(self) -> None:
        for event in HOSTILE:
            [line] = tables.lines([event_row(make_record(1, event=event))]).splitlines()
            self.assertEqual(json.loads(line)["event"].encode(), event)

    def test_which_row_of_a_session_counts(self) -> None:
        """The one that was active last, whenever it comes; then the one that has ended."""
        rows = [
            make_session(last_activity=1000),
            make_session(last_activity=1000, ended_at=900_000, end_reason="timeout"),
            make_session(last_activity=1001),
        ]
        versions = [session_row(one)["version"] for one in rows]
        self.assertEqual(versions, sorted(set(versions)))

    @given(st.text(max_size=40))
    def test_no_text_ends_a_literal(self, text: str) -> None:
        quoted = tables._quoted(text)
        self.assertRegex(quoted, re.compile(r"\A'([^'\\]|\\.)*'\Z", re.DOTALL))
        self.assertEqual(re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL), text)
