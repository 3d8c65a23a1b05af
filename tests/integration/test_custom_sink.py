"""The sink and the step of docs/sinks.md: a distribution of its own, installed by pip."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect

from tests.integration.process import TWISTD, ServerProcess, logui_json
from tests.integration.served import payload

DOCS = Path(__file__).parents[2] / "docs" / "sinks.md"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
_FILE = re.compile(r"`([\w.]+\.(?:toml|py))`[^`]*?:\n\n```\w+\n(.*?)```", re.DOTALL)


class CustomSinkTests(SynchronousTestCase):
    installed: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        folder = Path(cls.enterClassContext(TemporaryDirectory()))
        files = dict(_FILE.findall(DOCS.read_text(encoding="utf-8")))
        source = folder / "source"
        source.mkdir()
        for name, text in files.items():
            (source / name).write_text(text, encoding="utf-8")
        cls.test = source / "test_logui_sqlite.py"
        cls.installed = folder / "installed"
        subprocess.run(
            [*PIP, "install", "--no-deps", "--no-build-isolation", "--target", cls.installed, source],
            check=True,
            capture_output=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.installed)}

    def run_(self, *command: object) -> str:
        found = subprocess.run(
            [*map(str, command)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)
        return found.stdout

    def test_it_is_about_fifty_lines(self) -> None:
        lines = (self.installed / "logui_sqlite.py").read_text(encoding="utf-8").splitlines()
        self.assertLessEqual(len([line for line in lines if line.strip()]), 55)

    def test_it_is_listed(self) -> None:
        listed = self.run_(*TWISTD, "--help-sinks")
        self.assertRegex(listed, "sqlite: +a table in an SQLite file")
        self.assertRegex(listed, "study:NAME +tells each event which study it is of")
        self.assertIn("timeout  Time to wait for a locked file.", self.run_(*TWISTD, "--help-sink", "sqlite"))

    def test_it_passes_the_contract(self) -> None:
        pytest = sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", self.test.parent
        told = self.run_(*pytest, "-q", self.test)
        self.assertRegex(told, r"\n1\d passed")

    def test_it_is_delivered_to(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        file = folder / "events.sqlite"
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(self.installed)
        try:
            server = ServerProcess(
                folder / "data", f"--sink=sqlite:{file}?step=study:A", "--demo", program=TWISTD
            )
        finally:
            os.environ.pop("PYTHONPATH")
            if before is not None:
                os.environ["PYTHONPATH"] = before
        self.addCleanup(server.kill)
        token = logui_json(folder / "data", "flight", "token", "Demo")["token"]
        hello = {
            "payloadType": "LogUIHandshake",
            "clientDateTime": 1_760_000_000_000,
            "appIdentifier": token,
            "appSpecificLogData": {},
            "domain": "localhost",
        }
        with connect(server.url) as client:
            client.send(json.dumps(hello))
            client.send(json.dumps(payload(1, 2, 3)))
            self.assertEqual([json.loads(client.recv())["statusCode"] for _ in range(2)], ["200", "201"])
        self.assertEqual(server.stop(), 0)
        with closing(sqlite3.connect(file)) as connection:
            events = [json.loads(event) for (event,) in connection.execute("SELECT event FROM events")]
        self.assertEqual([event["study"] for event in events], ["A"] * 3)
        (status,) = logui_json(folder / "data", "sink", "status")
        self.assertEqual((status["name"], status["behind"], status["delivered"]), (f"sqlite:{file}", 0, 3))
