"""Imports of a released LogUI server's data by the command."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.integration.postgres import PASSWORD, PostgreSQLTestCase
from tests.integration.process import logui
from tests.released_server import ReleasedServer


class ImportTestCase(PostgreSQLTestCase):
    def setUp(self) -> None:
        self.place = Path(self.enterContext(TemporaryDirectory()))
        self.folder = self.place / "logui-data"
        self.old = ReleasedServer(self.new_database())

    def file(self, content: str, name: str = "events.log") -> Path:
        path = self.place / name
        path.write_text(content, encoding="utf-8")
        return path

    def bring(self, *files: Path, status: int = 0) -> Any:
        exports = [part for file in files for part in ("--mongo-export", str(file))]
        done = logui(self.folder, "import-logui", "--database", self.old.uri, *exports, "--json", check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.said = done.stderr
        return json.loads(done.stdout)

    def refused(self, uri: str, *more: str) -> str:
        done = logui(self.folder, "import-logui", "--database", uri, *more, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertNotIn(PASSWORD, done.stderr)
        self.assertNotIn("falsch", done.stderr)
        return done.stderr

    def export(self, flight: str, form: str = "logui") -> str:
        return logui(self.folder, "export", "--flight", flight, "--format", form).stdout

    def events(self, flight: str) -> list[Any]:
        return [json.loads(line) for line in self.export(flight, "jsonl").splitlines()]
