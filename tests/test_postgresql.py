"""The registry's PostgreSQL engine, as far as no server is needed; see integration/test_postgresql.py."""

import sys
from unittest.mock import patch

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import make_url
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadOption
from logui_tx.registry.database import open_engine
from logui_tx.registry.postgresql import open_postgresql


def parameters(uri: str) -> dict[str, object]:
    """What libpq is given."""
    engine = open_postgresql(make_url(uri))
    _, given = engine.dialect.create_connect_args(engine.url)
    given.pop("context", None)
    return conninfo_to_dict(make_conninfo(**given))


class ParameterTests(SynchronousTestCase):
    def test_every_spelling(self) -> None:
        for kind in ("postgresql", "postgres", "postgresql+psycopg"):
            found = parameters(f"{kind}://me:p%40ss%2F@db.example:1234/logui?sslmode=require")
            expected = {
                "user": "me",
                "password": "p@ss/",
                "host": "db.example",
                "port": "1234",
                "dbname": "logui",
                "sslmode": "require",
            }
            self.assertEqual(found | expected, found)

    def test_nothing_waits_for_ever(self) -> None:
        found = parameters("postgresql://h/db")
        self.assertEqual((found["connect_timeout"], found["tcp_user_timeout"]), ("5", "10000"))
        for setting in ("statement_timeout=5000 ", "lock_timeout=5000 "):
            self.assertIn(setting, str(found["options"]))

    def test_what_is_given_wins(self) -> None:
        uri = "postgresql:///db?host=/run/pg&connect_timeout=9&options=-csearch_path%3Dlogui"
        found = parameters(uri)
        self.assertEqual((found["host"], found["connect_timeout"]), ("/run/pg", "9"))
        self.assertTrue(str(found["options"]).endswith(" -csearch_path=logui"), found["options"])

    def test_the_pool_checks_its_connections(self) -> None:
        self.assertTrue(open_postgresql(make_url("postgresql://h/db")).pool._pre_ping)


class RefusedTests(SynchronousTestCase):
    def refused(self, uri: str) -> str:
        error = str(self.assertRaises(BadOption, open_engine, uri, None))
        self.assertNotIn("hunter2", error)
        self.assertNotIn("\n", error)
        return error

    def test_an_unknown_parameter(self) -> None:
        self.assertIn('"colour"', self.refused("postgresql://me:hunter2@h/db?colour=hunter2"))

    def test_a_password_that_spills_into_the_host(self) -> None:
        for uri in (
            "postgresql://me:@hunter2@h/db",
            "postgresql://me:x@hunter2/y@h/db",
            "x://me:1@hunter2?@h",
        ):
            self.assertIn("%40", self.refused(uri))

    def test_no_driver(self) -> None:
        self.enterContext(patch.dict(sys.modules, {"psycopg": None}))
        self.assertIn("logui-tx[postgresql]", self.refused("postgresql://me:hunter2@h/db"))
