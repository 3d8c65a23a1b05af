"""Two servers that share a PostgreSQL and a file of signing keys."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.integration.postgres import PASSWORD, PostgreSQLTestCase
from tests.integration.process import TWISTD, ServerProcess, logui
from tests.integration.test_daemon import wait_until

ORIGIN = "https://shop.example"


class SharedTestCase(PostgreSQLTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.key_file = self.folder / "shared.key"
        self.options = (f"--database={self.new_database()}", f"--secret-key-file={self.key_file}")
        self.logui("key", "create")

    def logui(self, *arguments: str, data: str = "commands") -> Any:
        """Run the command with ``--json``."""
        return json.loads(logui(self.folder / data, *self.options, *arguments, "--json").stdout)

    def make_flight(self, name: str) -> Any:
        return self.logui("flight", "create", "--application=App", f"--name={name}", "--domain=shop.example")

    def serve(self, name: str, *more: str) -> ServerProcess:
        server = ServerProcess(self.folder / name, *self.options, *more)
        self.addCleanup(server.kill)
        return server

    def connect(self, server: ServerProcess) -> ClientConnection:
        return self.enterContext(connect(server.url, origin=ORIGIN))  # type: ignore[arg-type]

    def greet(self, client: ClientConnection, token: str) -> str:
        hello = {
            "payloadType": "LogUIHandshake",
            "clientDateTime": 1,
            "appIdentifier": token,
            "appSpecificLogData": {},
        }
        client.send(json.dumps(hello))
        return json.loads(client.recv())["statusCode"]

    def answer(self, server: ServerProcess, flight: Any) -> str:
        """The status code of a handshake on a connection of its own."""
        with connect(server.url, origin=ORIGIN) as client:  # type: ignore[arg-type]
            return self.greet(client, flight["token"])

    def health(self, server: ServerProcess) -> tuple[int, str]:
        """The page's status and the registry's state."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz") as page:
                status, text = page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        self.assertNotIn(PASSWORD, text)
        return status, json.loads(text)["parts"]["registry"]["state"]


class TwoServersTests(SharedTestCase):
    def test_what_one_is_told_both_obey(self) -> None:
        servers = [self.serve("one"), self.serve("two")]

        def await_answer(expected: str, flight: Any) -> None:
            for server in servers:
                wait_until(lambda server=server: self.answer(server, flight) == expected, expected)

        self.logui("application", "create", "App", data="one")
        flight = self.make_flight("F")
        self.assertEqual([self.answer(server, flight) for server in servers], ["200", "200"])
        self.logui("flight", "disable", "F", data="one")
        await_answer("400", flight)
        self.logui("flight", "enable", "F", data="two")
        await_answer("200", flight)
        self.logui("flight", "set", "F", "--domain=elsewhere.example")
        await_answer("400", flight)
        self.logui("flight", "set", "F", "--domain=shop.example")
        await_answer("200", flight)
        self.logui("key", "rotate")
        again = self.logui("flight", "token", "F", data="two")
        self.assertNotEqual(again["token"], flight["token"])
        await_answer("200", again)
        await_answer("200", flight)
        for server in servers:
            self.assertFalse((server.data_dir / "secret.key").exists())
            self.assertEqual(server.stop(), 0)
            self.assertNotIn(PASSWORD, "".join(server.log))

    def test_both_make_the_demo_and_its_tables_at_once(self) -> None:
        command = [*TWISTD, *self.options, "--listen=tcp:0:interface=127.0.0.1", "--demo"]
        started = [
            subprocess.Popen(
                [*command, f"--data-dir={self.folder / name}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for name in ("one", "two")
        ]
        for process in started:
            self.addCleanup(process.stdout.close)  # type: ignore[union-attr]
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
        for process in started:
            lines = iter(process.stdout.readline, "")  # type: ignore[union-attr]
            self.assertTrue(any("demo page" in line for line in lines))
        (demo,) = self.logui("flight", "list")
        self.assertEqual(demo["name"], "Demo")


class OutageTests(SharedTestCase):
    """PostgreSQL goes away under a running server, and comes back."""

    def setUp(self) -> None:
        super().setUp()
        self.logui("application", "create", "App")
        self.known, self.unknown = self.make_flight("known"), self.make_flight("unknown")
        # For the tests after this one, of whatever class.
        self.addCleanup(self.postgresql.start)
        self.addCleanup(self.postgresql.stop)

    def test_what_runs_goes_on(self) -> None:
        server = self.serve("one", "--drain-timeout=0.1")
        running = self.connect(server)
        self.assertEqual(self.greet(running, self.known["token"]), "200")
        payload_id = 0

        def store() -> str:
            nonlocal payload_id
            payload_id += 1
            event = {"clientDateTime": 1, "n": payload_id}
            payload = {
                "payloadType": "LogUIEventPayload",
                "payloadID": payload_id,
                "eventsToBeLogged": [event],
            }
            running.send(json.dumps(payload))
            return json.loads(running.recv())["statusCode"]

        for _ in range(2):
            self.assertEqual(self.health(server), (200, "ok"))
            self.postgresql.stop()
            self.assertEqual(store(), "201")
            wait_until(lambda: self.health(server) == (200, "degraded"), "the health")
            self.assertEqual(self.answer(server, self.known), "200")
            self.assertEqual(self.answer(server, self.unknown), "500")
            self.postgresql.start()
            wait_until(lambda: self.health(server) == (200, "ok"), "the health")
            self.assertEqual(self.answer(server, self.known), "200")
            self.assertEqual(store(), "201")
        self.assertEqual(self.answer(server, self.unknown), "200")
        self.assertEqual(server.stop(), 0)
        log = "".join(server.log)
        self.assertEqual(log.count("live#warn] the registry's database does not answer"), 2, log)
        self.assertEqual(log.count("answers again"), 2)
        for never in (PASSWORD, "Traceback", "SELECT"):
            self.assertNotIn(never, log)

    def test_it_freezes(self) -> None:
        server = self.serve("one", "--drain-timeout=0.1")
        self.assertEqual(self.answer(server, self.known), "200")
        with self.postgresql.frozen():
            wait_until(lambda: self.health(server) == (200, "degraded"), "the health")
            self.assertEqual(self.answer(server, self.known), "200")
            self.assertEqual(self.answer(server, self.unknown), "500")
        wait_until(lambda: self.health(server) == (200, "ok"), "the health")
        wait_until(lambda: self.answer(server, self.unknown) == "200", "the admission")
        with self.postgresql.frozen():
            wait_until(lambda: self.health(server) == (200, "degraded"), "the health")
            self.assertEqual(server.stop(), 0)

    def test_nothing_stands_in_where_that_is_not_wanted(self) -> None:
        server = self.serve("one", "--registry-stale=0")
        self.assertEqual(self.answer(server, self.known), "200")
        self.postgresql.stop()
        wait_until(lambda: self.answer(server, self.known) == "500", "the failure")
        self.assertEqual(self.health(server), (503, "failing"))

    def test_a_server_that_knows_no_flight_is_failing(self) -> None:
        server = self.serve("one")
        self.postgresql.stop()
        self.assertEqual(self.health(server), (503, "failing"))
        self.assertEqual(server.stop(), 0)

    def test_changes_made_during_the_outage_of_one_server_count_when_it_is_over(self) -> None:
        server = self.serve("one")
        self.assertEqual(self.answer(server, self.known), "200")
        self.postgresql.stop()
        wait_until(lambda: self.health(server) == (200, "degraded"), "the health")
        self.postgresql.start()
        self.logui("flight", "disable", "known")
        wait_until(lambda: self.answer(server, self.known) == "400", "the refusal")


class CannotStartTests(SharedTestCase):
    """One clear line that bears no secret."""

    def refuses(self, expected: str, *options: str) -> None:
        tried = subprocess.run(
            [*TWISTD, f"--data-dir={self.folder / 'data'}", "--listen=tcp:0:interface=127.0.0.1", *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertNotEqual(tried.returncode, 0)
        self.assertEqual(len(tried.stderr.splitlines()), 1, tried.stderr)
        self.assertIn(expected, tried.stderr)
        for secret in (PASSWORD, "wrong-geheim", self.key_file.read_text().strip()):
            self.assertNotIn(secret, tried.stderr + tried.stdout)
        self.assertNotIn("Traceback", tried.stdout)

    def test_the_database(self) -> None:
        server = self.postgresql
        wrong = server.uri("postgres", password="wrong-geheim")
        self.refuses("password authentication failed", f"--database={wrong}")
        self.refuses('"colour"', f"--database={server.uri('postgres')}?colour=red")
        self.refuses("refused", f"--database=postgresql://logui:{PASSWORD}@127.0.0.1:1/logui")
        self.refuses("%40", f"--database=postgresql://logui:{PASSWORD}@{PASSWORD}@127.0.0.1:1/logui")
        self.refuses("cannot be used", f"--database=mysql://logui:{PASSWORD}@127.0.0.1/logui")

    def test_the_keys(self) -> None:
        missing = self.folder / "missing.key"
        self.refuses("logui key create", self.options[0], f"--secret-key-file={missing}")
        self.assertFalse(missing.exists())
        short = self.folder / "short.key"
        short.write_text("short")
        self.refuses("less than 16", self.options[0], f"--secret-key-file={short}")
