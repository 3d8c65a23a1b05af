"""The command ``logui import-logui``: how it is called, what it says; the rest is tested with a database."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

from logui_tx import data_folder
from logui_tx.migration import migrate as migrate_module
from logui_tx.migration.migrate import LeftOut, Summary
from logui_tx.migration.sessions import Counts
from tests.test_cli_registry import CommandTestCase

URI = "postgresql://u:geheim@h/logui"


class ImportCommandTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.summary = Summary(
            1, 2, 3, 4, Counts(5, 6, 0, 7, 8, 0), notes=["the flight 'P\x1b[31m' took pages from anywhere"]
        )
        self.calls: list[Any] = []

        def migrate(*arguments: Any) -> Summary:
            self.calls.append(arguments)
            self.assertTrue((self.folder / data_folder.LOCK).exists())
            arguments[-1](1)
            return self.summary

        self.patch(migrate_module, "migrate", migrate)

    def test_for_people(self) -> None:
        result = self.invoke("import-logui", "--database", URI)
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(
            [line.split() for line in result.stdout.splitlines()],
            [
                [what, str(imported), "imported", str(there), "there", "already"]
                for what, imported, there in (
                    ("applications", 1, 2),
                    ("flights", 3, 4),
                    ("sessions", 5, 6),
                    ("events", 7, 8),
                )
            ],
        )
        self.assertEqual(result.stderr, "logui: the flight 'P\\x1b[31m' took pages from anywhere\n")

    def test_for_programs(self) -> None:
        self.summary.left_out["why"] = LeftOut("why", "a.log", 17, 3)
        found = self.json("import-logui", "--database", URI)
        self.assertEqual(
            found,
            {
                "applications": {"imported": 1, "there": 2},
                "flights": {"imported": 3, "there": 4},
                "sessions": {"imported": 5, "there": 6, "fromEvents": 0},
                "events": {"imported": 7, "there": 8, "withoutSession": 0},
                "leftOut": [{"events": 3, "why": "why", "file": "a.log", "byte": 17}],
                "faults": [],
                "notes": self.summary.notes,
            },
        )

    def test_what_was_left_out_is_told(self) -> None:
        self.summary.notes.clear()
        self.summary.counts.sessions_from_events = 2
        self.summary.left_out["it is not JSON"] = LeftOut("it is not JSON", "a.log", 17, 3)
        result = self.invoke("import-logui", "--database", URI)
        self.assertEqual(
            (result.exit_code, result.stderr.splitlines()),
            (
                0,
                [
                    "logui: 2 sessions are known from their events only",
                    "logui: 3 events were left out: it is not JSON (the first in a.log, byte 17)",
                ],
            ),
        )

    def test_a_file_that_breaks_off(self) -> None:
        self.summary.faults.append(LeftOut("the file breaks off", "a.log", 17))
        result = self.invoke("import-logui", "--database", URI, "--json")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(json.loads(result.stdout)["faults"][0]["byte"], 17)
        self.assertIn("a.log, byte 17: the file breaks off; what stands before was imported", result.stderr)

    def test_arguments(self) -> None:
        self.succeeds("import-logui", "--database", URI, "--mongo-export", "a", "--mongo-export", "b")
        uri, files, registry, data_dir, now, _ = self.calls[0]
        self.assertEqual((uri, files, data_dir), (URI, (Path("a"), Path("b")), self.folder))
        self.assertEqual(registry.list_applications(), [])
        self.assertGreater(now, 1_700_000_000_000)
        self.assertIn("--database", self.fails("import-logui", status=2))

    def test_the_folder_is_in_use(self) -> None:
        data_folder.make(self.folder)
        with data_folder.lock(self.folder):
            said = self.fails("import-logui", "--database", URI)
        self.assertIn(f"in use by another server (process {os.getpid()})", said)
        self.assertEqual(self.calls, [])

    def test_it_is_listed(self) -> None:
        self.assertIn("import-logui", self.run_bare("--help").stdout)
        said = " ".join(self.invoke("import-logui", "--help").stdout.split())
        for part in ("--database", "--mongo-export", "must be stopped", "once"):
            self.assertIn(part, said)


class ProgressTests(CommandTestCase):
    def test_a_bar_where_someone_looks(self) -> None:
        code = (
            "from logui_tx.cli.progress import bar\n"
            "with bar(4000, in_bytes=True) as advance:\n"
            "    for _ in range(4000): advance(1)\n"
            "with bar(0, in_bytes=True) as advance: advance(5)\n"
        )
        ours, theirs = pty.openpty()
        with open(ours, "rb", buffering=0) as terminal:
            process = subprocess.Popen(
                [sys.executable, "-c", code], stderr=theirs, env={**os.environ, "TERM": "xterm"}
            )
            os.close(theirs)
            said = b""
            try:
                while more := terminal.read(4096):
                    said += more
            except OSError:
                pass  # how a terminal tells its end
            self.assertEqual(process.wait(), 0, said)
        self.assertIn("kB", said.decode())
