import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect

from logui_tx.journal.schema import FILE, open_journal
from logui_tx.registry.database import migrate, open_engine
from tests.integration.process import TWISTD, ServerProcess, logui, logui_json


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_until(condition, what: str, limit: float = 60) -> None:
    """For another process's doing, which nothing else tells of."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {limit} s")
        os.sched_yield()


class Folder(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def serve(self, data: str = "data") -> ServerProcess:
        server = ServerProcess(self.folder / data, program=TWISTD)
        self.addCleanup(server.kill)
        return server

    def run_twistd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TWISTD[0], *arguments], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )


class DaemonTests(Folder):
    def test_starts_with_pidfile_and_log_and_stops(self) -> None:
        port = free_port()
        started = self.run_twistd(
            "--pidfile=logui.pid", "--logfile=logui.log", "logui", f"--listen=tcp:{port}:interface=127.0.0.1"
        )
        self.assertEqual((started.returncode, started.stderr), (0, ""))
        pidfile = self.folder / "logui.pid"
        wait_until(pidfile.exists, "the pidfile")
        process = int(pidfile.read_text())
        self.addCleanup(lambda: pidfile.exists() and os.kill(process, signal.SIGKILL))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            self.assertEqual(answer.status, 200)
        os.kill(process, signal.SIGTERM)
        wait_until(lambda: not pidfile.exists(), "the end")
        log = (self.folder / "logui.log").read_text()
        self.assertIn("stopped; 0 events stored", log)
        self.assertNotIn("Traceback", log)
        self.assertEqual((self.folder / "logui-data").stat().st_mode & 0o777, 0o700)

    def test_a_busy_port_is_told_to_the_one_who_started_it(self) -> None:
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            started = self.run_twistd("logui", f"--listen=tcp:{port}:interface=127.0.0.1")
        self.assertNotEqual(started.returncode, 0)
        self.assertIn(f"Address already in use: cannot listen on tcp:{port}", started.stderr)
        # The one who started it is told first, the log a moment later.
        log = self.folder / "twistd.log"
        whole = f"Address already in use: cannot listen on tcp:{port}:interface=127.0.0.1\n"
        wait_until(lambda: whole in log.read_text(), "the line in the log")
        self.assertFalse((self.folder / "twistd.pid").exists())


class StopTests(Folder):
    def test_a_signal_ends_it_with_status_0(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.serve()
            self.assertEqual(server.stop(number), 0, server.log)
            self.assertIn("stopped; 0 events stored", "".join(server.log))


class CannotStartTests(Folder):
    """One clear line and a status that is not zero."""

    def refuses(self, expected: str, *options: str) -> None:
        tried = self.run_twistd("-n", "--pidfile=", "logui", *options)
        self.assertNotEqual(tried.returncode, 0, tried.stdout)
        lines = tried.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, tried.stderr + tried.stdout)
        self.assertIn(expected, lines[0])
        self.assertTrue(lines[0].startswith("twistd logui: "), lines[0])
        self.assertNotIn("Traceback", tried.stdout)

    def test_an_unknown_option(self) -> None:
        self.refuses("option --frobnicate not recognized", "--frobnicate")

    def test_a_wrong_value(self) -> None:
        self.refuses("max-events: 'many' does not do: a whole number is expected", "--max-events=many")

    def test_an_argument_too_many(self) -> None:
        self.refuses("'xyz' is not an option", "xyz")

    def test_an_unknown_configuration_key(self) -> None:
        (self.folder / "logui.toml").write_text("max-evnts = 5\n")
        self.refuses(
            "unknown key 'max-evnts' in logui.toml; did you mean 'max-events'?", "--config=logui.toml"
        )

    def test_a_configuration_that_is_missing(self) -> None:
        self.refuses("the configuration nowhere.toml cannot be read", "--config=nowhere.toml")

    def test_an_endpoint_of_an_unknown_kind(self) -> None:
        self.refuses("the endpoint 'carrier-pigeon:7' cannot be used", "--listen=carrier-pigeon:7")

    def test_a_session_store_of_an_unknown_kind(self) -> None:
        self.refuses("session-store", "--session-store=etcd://user:geheim@host")

    def test_a_busy_port(self) -> None:
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.refuses("Address already in use", f"--listen=tcp:{port}:interface=127.0.0.1")

    def test_a_data_folder_that_cannot_be_made(self) -> None:
        (self.folder / "file").write_text("")
        self.refuses("cannot be made", "--data-dir=file/data", "--listen=tcp:0")

    def test_a_data_folder_that_cannot_be_written(self) -> None:
        # /proc refuses even root, whom permissions do not stop.
        self.refuses("the data folder /proc/self", "--data-dir=/proc/self/fdinfo", "--listen=tcp:0")

    def test_a_data_folder_in_use(self) -> None:
        server = self.serve()
        self.refuses(
            f"is in use by another server (process {server.process.pid})", "--data-dir=data", "--listen=tcp:0"
        )

    def test_a_journal_of_a_newer_version(self) -> None:
        (self.folder / "data").mkdir()
        journal = open_journal(self.folder / "data", create=True)
        journal.execute("PRAGMA user_version = 999")
        journal.close()
        self.refuses("was written by a newer version of logui-tx", "--data-dir=data", "--listen=tcp:0")

    def test_a_registry_of_a_newer_version(self) -> None:
        (self.folder / "data").mkdir()
        engine = open_engine(None, self.folder / "data")
        migrate(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999_later'")
        engine.dispose()
        self.refuses("was written by a newer version of logui-tx", "--data-dir=data", "--listen=tcp:0")

    def test_a_journal_that_is_none(self) -> None:
        (self.folder / "data").mkdir()
        (self.folder / "data" / FILE).write_bytes(b"not a database at all" * 100)
        self.refuses("file is not a database", "--data-dir=data", "--listen=tcp:0")

    def test_a_damaged_newest_segment(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        journal = open_journal(data, create=True)
        journal.execute("INSERT INTO segment VALUES (1, 0, 0, 1, x'0000000000000001', x'01ffff')")
        journal.close()
        self.refuses("does not pass its check: segment 1", "--data-dir=data", "--listen=tcp:0")
        with closing(sqlite3.connect(data / FILE)) as again:
            self.assertEqual(again.execute("SELECT count(*) FROM segment").fetchone(), (1,))


class CommandLineTests(Folder):
    """What the command line changes, a running server obeys."""

    def test_the_command_line_may_make_the_folder_before_the_server_does(self) -> None:
        created = logui(self.folder / "new", "application", "create", "Study")
        self.assertEqual(created.returncode, 0)
        self.assertEqual((self.folder / "new").stat().st_mode & 0o777, 0o700)
        server = self.serve("new")
        self.assertEqual(server.stop(), 0)

    def test_a_flight_is_created_disabled_and_enabled_under_a_running_server(self) -> None:
        server = self.serve()
        data = server.data_dir
        logui(data, "application", "create", "Study")
        made = logui_json(data, "flight", "create", "--application", "Study", "--name", "A", "--domain", "*")

        def answer() -> dict[str, Any]:
            hello = {
                "payloadType": "LogUIHandshake",
                "clientDateTime": 1,
                "appIdentifier": made["token"],
                "appSpecificLogData": {},
            }
            with connect(server.url) as client:
                client.send(json.dumps(hello))
                return json.loads(client.recv())

        self.assertEqual(answer()["statusCode"], "200")
        logui(data, "flight", "disable", made["id"])
        wait_until(lambda: answer()["statusCode"] == "400", "the refusal")
        self.assertIn("not active", answer()["errorDetails"]["errorString"])
        logui(data, "flight", "enable", made["id"])
        wait_until(lambda: answer()["statusCode"] == "200", "the admission")
        logui(data, "key", "rotate")
        self.assertEqual(answer()["statusCode"], "200")
        logui(data, "flight", "delete", made["id"], "--yes")
        wait_until(lambda: answer()["statusCode"] == "400", "the end of the flight")
