"""The registry's database: how it is opened, migrated, and refused."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadOption, DatabaseUnusable, DataFolderUnusable
from logui_tx.model import Flight
from logui_tx.registry import database, migrations, schema, sqlite
from logui_tx.registry.database import migrate, open_engine
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner


def migrate_in(folder: str) -> None:
    migrate(open_engine(None, Path(folder)))


class DatabaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def open(self, uri: str | None = None) -> Engine:
        engine = open_engine(uri, self.folder)
        self.addCleanup(engine.dispose)
        return engine


class OpenTests(DatabaseTests):
    def test_default_file_is_private(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        engine = self.open()
        migrate(engine)
        with engine.connect():
            for file in self.folder.iterdir():
                self.assertEqual(file.stat().st_mode & 0o777, 0o600, file)
        self.assertTrue((self.folder / "registry.sqlite").exists())

    def test_pragmas(self) -> None:
        with self.open().connect() as connection:
            for name, value in [("journal_mode", "wal"), ("busy_timeout", 5000), ("foreign_keys", 1)]:
                self.assertEqual(connection.execute(text(f"PRAGMA {name}")).scalar(), value)

    def test_waits_for_one_who_writes_before_the_first_of_us_switches_to_wal(self) -> None:
        other = sqlite3.connect(self.folder / "registry.sqlite", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE t (x)")
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            other.execute("COMMIT")

        self.patch(sqlite, "sleep", sleep)
        with self.open().connect() as connection:
            self.assertEqual(connection.execute(text("PRAGMA journal_mode")).scalar(), "wal")
        self.assertEqual(len(waits), 1)

    def test_a_uri_names_another_file(self) -> None:
        path = self.folder / "other.db"
        migrate(self.open(f"sqlite:///{path}"))
        self.assertTrue(path.exists())

    def test_unsupported_uris(self) -> None:
        for uri in [
            "mysql+pymysql://u:hunter2@h/db",
            "sqlite+aiosqlite:///x",
            "nonsense",
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite://host/x",
            "sqlite:///x?mode=ro",
            "",
            "://hunter2",
            "postgresql://u:hunter2",
        ]:
            error = self.assertRaises(BadOption, open_engine, uri, self.folder)
            self.assertIn("sqlite:///PATH", str(error))
            self.assertNotIn("hunter2", str(error))

    def test_unusable_folder(self) -> None:
        error = self.assertRaises(DataFolderUnusable, open_engine, None, self.folder / "absent")
        self.assertIn("No such file", str(error))

    def test_no_database_at_all(self) -> None:
        (self.folder / "registry.sqlite").write_bytes(b"something else" * 1000)
        error = self.assertRaises(DatabaseUnusable, migrate, self.open())
        self.assertIn("not a database", str(error))


class MigrateTests(DatabaseTests):
    def test_makes_the_schema(self) -> None:
        engine = self.open()
        migrate(engine)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection)
            self.assertEqual(compare_metadata(context, schema.metadata), [])
            self.assertEqual(context.get_current_revision(), migrations.HEAD)

    def test_flights_of_the_first_revision_get_the_defaults(self) -> None:
        engine = self.open()
        with engine.begin() as connection:
            database._upgrade(connection, "0001")
            connection.execute(text("INSERT INTO application VALUES ('a', 'App', 1)"))
            connection.execute(
                text("INSERT INTO flight VALUES ('f', 'a', 'F', '[\"*\"]', :active, '0.4.0', 2)"),
                {"active": True},
            )
        migrate(engine)
        flight = Registry(engine, TokenSigner(SigningKeys(self.folder))).get_flight("f")
        self.assertEqual(flight, Flight("f", "a", "F", ("*",), True, "0.4.0", 2, application_name="App"))

    def test_head_is_the_newest_script(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        self.assertEqual(ScriptDirectory.from_config(config).get_current_head(), migrations.HEAD)

    def test_again_changes_nothing_and_needs_no_alembic(self) -> None:
        engine = self.open()
        migrate(engine)
        code = (
            "import sys; from pathlib import Path; from logui_tx.registry.database import *;"
            f"migrate(open_engine(None, Path({str(self.folder)!r})));"
            "assert not any(name.split('.')[0] == 'alembic' for name in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_a_newer_version_is_not_touched(self) -> None:
        engine = self.open()
        migrate(engine)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        error = self.assertRaises(DatabaseUnusable, migrate, engine)
        self.assertIn("written by a newer version of logui-tx", str(error))
        with engine.connect() as connection:
            self.assertEqual(
                connection.execute(text("SELECT version_num FROM alembic_version")).scalar(), "9999"
            )

    def test_a_failed_migration_leaves_nothing(self) -> None:
        engine = self.open()
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE flight (x)"))
        self.assertRaises(DatabaseUnusable, migrate, engine)
        plain = sqlite3.connect(self.folder / "registry.sqlite")
        self.addCleanup(plain.close)
        tables = {row[0] for row in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self.assertEqual(tables, {"flight"})

    def test_many_processes_at_once(self) -> None:
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=migrate_in, args=(str(self.folder),)) for _ in range(6)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        self.assertEqual([process.exitcode for process in processes], [0] * 6)
