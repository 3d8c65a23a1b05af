"""What tests of the sink ``postgresql:`` share."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import SinkAway
from logui_tx.sinks.uri import read_uri
from tests.integration.postgres import PASSWORD, PostgreSQL

RECORD_ID = "journal_id || '-' || segment || '-' || position"


class PostgreSQLSinkTestCase(TestCase):
    """``self.postgresql`` runs while the class's tests do; each has an empty database at ``self.uri``."""

    postgresql: PostgreSQL

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.postgresql = PostgreSQL()
        cls.addClassCleanup(cls.postgresql.remove)
        cls.postgresql.start()

    def setUp(self) -> None:
        super().setUp()
        self.uri = self.postgresql.new_database()

    def sink(self, parameters: str = "", uri: str = "") -> Any:
        maker, read, _ = read_uri(f"{uri or self.uri}?{parameters}".rstrip("?"), sink_makers())
        sink = maker.make(read, reactor)
        self.addCleanup(sink.close)
        return sink

    def new_role(self) -> tuple[str, str]:
        """One without rights, and the URI for who connects with it."""
        database = self.uri.rpartition("/")[2]
        role = f"r{database[-8:]}"
        self.ask(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        return role, self.postgresql.uri(database, user=role)

    def ask(self, question: str, uri: str = "") -> list[Any]:
        with closing(psycopg.connect(uri or self.uri, autocommit=True)) as connection:
            asked = connection.execute(question)  # type: ignore[call-overload]
            return list(asked.fetchall()) if asked.description else []

    async def assert_away(self, doing: Any, *words: str) -> str:
        with self.assertRaises(SinkAway) as raised:
            await doing
        for word in words:
            self.assertIn(word, str(raised.exception))
        self.assertNotIn(PASSWORD, str(raised.exception))
        self.assertNotIn("\n", str(raised.exception))
        return str(raised.exception)
