"""The registry in a real PostgreSQL."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from logui_tx.errors import DatabaseUnusable, NameTaken, RegistryError, UnknownApplication
from logui_tx.model import Flight
from logui_tx.registry import database, migrations, schema
from logui_tx.registry.database import migrate, open_engine
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner
from tests import registries
from tests.integration.postgres import PASSWORD, PostgreSQLTestCase

NOWHERE = Path("/nonexistent")


def migrate_at(uri: str) -> None:
    migrate(open_engine(uri, NOWHERE))


class PostgreSQLRegistry(PostgreSQLTestCase, registries.RegistryMixin):
    def open_engine(self) -> Engine:
        return open_engine(self.new_database(), NOWHERE)


class ApplicationTests(PostgreSQLRegistry, registries.ApplicationMixin):
    pass


class FlightTests(PostgreSQLRegistry, registries.FlightMixin):
    pass


class DemoTests(PostgreSQLRegistry, registries.DemoMixin):
    pass


class BrokenDatabaseTests(PostgreSQLRegistry, registries.BrokenDatabaseMixin):
    pass


class ConcurrencyTests(PostgreSQLRegistry, registries.ConcurrencyMixin):
    pass


del PostgreSQLRegistry  # it is no test


class EngineTestCase(PostgreSQLTestCase):
    def open(self, uri: str) -> Engine:
        engine = open_engine(uri, NOWHERE)
        self.addCleanup(engine.dispose)
        return engine

    def registry(self, engine: Engine) -> Registry:
        return Registry(engine, TokenSigner(SigningKeys(NOWHERE)))


class MigrationTests(EngineTestCase):
    def test_makes_the_schema(self) -> None:
        engine = self.open(self.new_database())
        migrate(engine)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection)
            self.assertEqual(compare_metadata(context, schema.metadata), [])
            self.assertEqual(context.get_current_revision(), migrations.HEAD)

    def test_flights_of_the_first_revision_get_the_defaults(self) -> None:
        engine = self.open(self.new_database())
        with engine.begin() as connection:
            database._upgrade(connection, "0001")
            connection.execute(text("INSERT INTO application VALUES ('a', 'App', 1)"))
            connection.execute(text("INSERT INTO flight VALUES ('f', 'a', 'F', '[\"*\"]', true, '0.4.0', 2)"))
        migrate(engine)
        flight = self.registry(engine).get_flight("f")
        self.assertEqual(flight, Flight("f", "a", "F", ("*",), True, "0.4.0", 2, application_name="App"))

    def test_many_processes_at_once(self) -> None:
        uri = self.new_database()
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=migrate_at, args=(uri,)) for _ in range(6)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        self.assertEqual([process.exitcode for process in processes], [0] * 6)

    def test_one_waits_for_the_other(self) -> None:
        """Who holds the lock is waited for; what was done meanwhile is seen."""
        uri = self.new_database()
        first, second = self.open(uri), self.open(uri)
        context = multiprocessing.get_context("spawn")
        with first.begin() as connection:
            database.lock_migration(connection)
            process = context.Process(target=migrate_at, args=(uri,))
            process.start()
            waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            with second.connect().execution_options(isolation_level="AUTOCOMMIT") as observer:
                while observer.scalar(waiting) == 0:
                    self.assertTrue(process.is_alive())
            database._upgrade(connection)
        process.join()
        self.assertEqual(process.exitcode, 0)

    def test_a_newer_version_is_not_touched(self) -> None:
        engine = self.open(self.new_database())
        migrate(engine)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        error = str(self.assertRaises(DatabaseUnusable, migrate, engine))
        self.assertIn("written by a newer version of logui-tx", error)
        self.assertNotIn(PASSWORD, error)

    def test_a_failed_migration_leaves_nothing(self) -> None:
        uri = self.new_database()
        engine = self.open(uri)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE flight (x int)"))
        self.assertRaises(DatabaseUnusable, migrate, engine)
        with psycopg.connect(uri) as plain:
            tables = plain.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        self.assertEqual(tables, [("flight",)])

    def test_a_schema_of_its_own(self) -> None:
        uri = self.new_database()
        with psycopg.connect(uri) as plain:
            plain.execute("CREATE SCHEMA study")
        engine = self.open(f"{uri}?options=-csearch_path%3Dstudy")
        migrate(engine)
        self.registry(engine).create_application("App")
        with psycopg.connect(uri) as plain:
            self.assertEqual(plain.execute("SELECT name FROM study.application").fetchall(), [("App",)])


class LockTests(EngineTestCase):
    """What another server does, and has not yet committed, is waited for and then counts."""

    def setUp(self) -> None:
        self.uri = self.new_database()
        engine = self.open(self.uri)
        migrate(engine)
        self.shared = self.registry(engine)
        self.shared.create_application("App")

    def meanwhile(self, statement: str, call: Callable[[], Any]) -> Any:
        """What the call gives that began after the statement, and before its end."""
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with ThreadPoolExecutor(1) as pool, psycopg.connect(self.uri, autocommit=True) as observer:
            with psycopg.connect(self.uri) as other:
                other.execute(statement)  # type: ignore[call-overload]
                called = pool.submit(call)
                while observer.execute(waiting).fetchone() == (0,):
                    self.assertFalse(called.done())
            return called.result()

    def test_a_flight_of_an_application_that_is_being_deleted(self) -> None:
        def create() -> None:
            self.assertRaises(UnknownApplication, self.shared.create_flight, "App", "F", ["*"])

        self.meanwhile("DELETE FROM application", create)

    def test_a_flight_that_is_being_changed(self) -> None:
        self.shared.create_flight("App", "F", ["*"])
        flight = self.meanwhile(
            "UPDATE flight SET sample_moves = 50", lambda: self.shared.change_flight("F", name="G")
        )
        self.assertEqual((flight.name, flight.sample_moves), ("G", 50))
        self.assertEqual(self.shared.find_flight("G"), flight)

    def test_a_name_that_is_being_taken(self) -> None:
        def create() -> None:
            self.assertRaises(NameTaken, self.shared.create_application, "New")

        self.meanwhile("INSERT INTO application VALUES ('x', 'New', 1)", create)


class TroubleTests(EngineTestCase):
    """What is said, and that the password never is."""

    def says(self, expected: str, uri: str) -> None:
        error = str(self.assertRaises(DatabaseUnusable, migrate, self.open(uri)))
        self.assertIn(expected, error)
        self.assertEqual(len(error.splitlines()), 1)
        for secret in (PASSWORD, "wrong-geheim"):
            self.assertNotIn(secret, error)

    def test_unusable(self) -> None:
        server = self.postgresql
        self.says("password authentication failed", server.uri("postgres", password="wrong-geheim"))
        self.says("does not exist", server.uri("absent"))
        self.says("SSL", server.uri("postgres") + "?sslmode=require")
        self.says("invalid sslmode", server.uri("postgres") + "?sslmode=maybe")
        self.says("refused", f"postgresql://logui:{PASSWORD}@127.0.0.1:1/logui")
        self.says("no schema", self.new_database() + "?options=-csearch_path%3Dabsent")

    def test_another_encoding(self) -> None:
        uri = self.postgresql.new_database("TEMPLATE template0 ENCODING LATIN1")
        self.says("UTF8, not LATIN1", uri)

    def test_a_locale_changes_no_rule(self) -> None:
        uri = self.postgresql.new_database(
            "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'und-u-ks-level1-ka-shifted'"
        )
        engine = self.open(uri)
        migrate(engine)
        registry = self.registry(engine)
        made = [registry.create_application(name) for name in ("b", "B", "a b", "ab")]
        self.assertEqual([registry.find_application(each.name) for each in made], made)
        self.assertRaises(NameTaken, registry.create_application, "ab")

    def test_a_locked_table_does_not_hold_up_for_ever(self) -> None:
        uri = self.new_database()
        migrate(self.open(uri))
        registry = self.registry(self.open(f"{uri}?options=-clock_timeout%3D50ms"))
        with psycopg.connect(uri) as other:
            other.execute("LOCK TABLE flight")
            error = str(self.assertRaises(RegistryError, registry.get_flight, "f"))
        self.assertIn("lock timeout", error)


class RestartTests(EngineTestCase):
    def test_the_first_question_after_a_restart_is_answered(self) -> None:
        engine = self.open(self.new_database())
        migrate(engine)
        registry = self.registry(engine)
        made = registry.create_application("App")
        self.addCleanup(self.postgresql.start)
        for _ in range(2):
            self.postgresql.stop()
            self.postgresql.start()
            self.assertEqual(registry.list_applications(), [made])
        self.postgresql.stop()
        error = str(self.assertRaises(RegistryError, registry.check))
        self.assertIn("does not answer", error)
        self.assertNotIn(PASSWORD, error)
