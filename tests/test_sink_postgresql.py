"""The sink ``postgresql:``, as far as no server is needed; see integration/test_sink_postgresql.py."""

from typing import Any

from psycopg.conninfo import conninfo_to_dict
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import BadOption
from logui_tx.sinks.postgresql_tables import LONGEST_NAME, Tables, read_tables
from logui_tx.sinks.uri import read_uri


def made(uri: str) -> Any:
    maker, read, _ = read_uri(uri, sink_makers())
    return maker.make(read, MemoryReactorClock())


def parameters(uri: str) -> dict[str, Any]:
    """What libpq is given."""
    return dict(conninfo_to_dict(made(uri)._conninfo))


class ParameterTests(SynchronousTestCase):
    def test_every_part(self) -> None:
        found = parameters("postgresql://me:p%40ss%2F%20'@db.example:1234/lo%20gui?sslmode=require&table=x")
        expected = {
            "user": "me",
            "password": "p@ss/ '",
            "host": "db.example",
            "port": "1234",
            "dbname": "lo gui",
            "sslmode": "require",
        }
        self.assertEqual(found | expected, found)

    def test_hosts(self) -> None:
        found = parameters("postgres://h1:1,[::1]:2,h3/db")
        self.assertEqual((found["host"], found["port"]), ("h1,::1,h3", "1,2,"))
        self.assertEqual(parameters("postgresql:///db?host=/run/pg")["host"], "/run/pg")

    def test_nothing_waits_for_ever(self) -> None:
        found = parameters("postgresql://h/db?timeout=7")
        self.assertEqual((found["connect_timeout"], found["tcp_user_timeout"]), ("5", "10000"))
        for setting in ("statement_timeout=7000 ", "lock_timeout=7000 "):
            self.assertIn(setting, found["options"])

    def test_what_is_given_wins(self) -> None:
        found = parameters("postgresql://h/db?connect_timeout=9&options=-csearch_path%3Dx")
        self.assertEqual(found["connect_timeout"], "9")
        self.assertTrue(found["options"].endswith(" -csearch_path=x"), found["options"])
        self.assertEqual(found["target_session_attrs"], "read-write")


class RefusedTests(SynchronousTestCase):
    def refused(self, uri: str) -> str:
        error = self.assertRaises(BadOption, made, uri)
        self.assertNotIn("hunter2", f"{error}{error!r}{error.__context__!r}")
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_no_database(self) -> None:
        for uri in ("postgresql://u:hunter2@h", "postgresql://h/", "postgresql:", "postgresql://h/a/b"):
            self.assertIn("a database is expected: postgresql://", self.refused(uri))

    def test_a_host_that_is_none(self) -> None:
        for host in ("h:port", "h:0", "h:65536", "h1:1,h2:x"):
            self.assertIn("a port is a number", self.refused(f"postgresql://u:hunter2@{host}/db"))
        self.assertIn("the URI cannot be used", self.refused("postgresql://u:hunter2@[::1]x/db"))

    def test_parameters(self) -> None:
        for query in ("password=hunter2", "sslpassword=hunter2", "hunter2=1"):
            self.assertIn("unknown parameter", self.refused(f"postgresql://h/db?{query}"))
        self.assertIn("timeout", self.refused("postgresql://h/db?timeout=0"))

    def test_names(self) -> None:
        long = "x" * (LONGEST_NAME + 1)
        for query in ("table=a.b.c", "sessions=a.b"):
            self.assertIn("one dot", self.refused(f"postgresql://h/db?{query}"))
        for query in ("table=a.", "table=.a", f"table={long}", f"sessions={long}", "table=a%25"):
            self.assertIn("a name", self.refused(f"postgresql://h/db?{query}"))
        self.assertIn("without NUL", self.refused("postgresql://h/db?table=%00"))
        for query in ("table=a&sessions=a", "table=a&sessions=a_version"):
            self.assertIn("a table of its own", self.refused(f"postgresql://h/db?{query}"))


class TableTests(SynchronousTestCase):
    def test_names(self) -> None:
        for events, sessions, expected in (
            ("logui_events", None, Tables(None, "logui_events", "logui_sessions")),
            ("events", None, Tables(None, "events", "sessions")),
            ("study.clicks", None, Tables("study", "clicks", "clicks_sessions")),
            ("study.Events", "Visits", Tables("study", "Events", "Visits")),
        ):
            self.assertEqual(read_tables(events, sessions), expected)

    def test_names_are_quoted(self) -> None:
        tables = Tables('s"; x', "e'", "v")
        self.assertEqual(
            tables.statement("{events} {sessions} {version} {events_flight}").as_string(None),
            '"s""; x"."e\'" "s""; x"."v" "s""; x"."e\'_version" "e\'_flight"',
        )
