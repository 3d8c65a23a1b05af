"""The command ``logui export``."""

import csv
import io
import json
import os
import pty
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from logui_tx.export import jsonl
from logui_tx.journal.schema import open_journal
from logui_tx.records import FIELDS
from tests.journals import NOW, MadeJournal, event, made_journal
from tests.test_cli_registry import CommandTestCase


class ExportCommandTestCase(CommandTestCase):
    """A flight "F" in an application "App", and the journal of the running server."""

    def setUp(self) -> None:
        super().setUp()
        self.application = self.json("application", "create", "App")
        self.flight = self.make_flight("F")
        self.journal: MadeJournal = self.enterContext(made_journal(self.folder))
        self.out = self.place / "out"

    def log(self, session: str, *events: Any, **more: Any) -> None:
        self.journal.session(session, flight=self.flight["id"], **more).send(*events)
        self.journal.commit()

    def export(self, *arguments: str, flight: str = "F") -> Result:
        result = self.invoke("export", "--flight", flight, *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result

    def lines(self, *arguments: str, flight: str = "F") -> list[Any]:
        return [json.loads(line) for line in self.export(*arguments, flight=flight).stdout.splitlines()]

    def command(self, *arguments: str) -> list[str]:
        code = "from logui_tx.cli.main import main; main()"
        export = ["export", "--flight", "F", *arguments]
        return [sys.executable, "-c", code, "--data-dir", str(self.folder), *export]


class ExportTests(ExportCommandTestCase):
    def test_json_lines_to_stdout(self) -> None:
        self.log("s1", 1, 2)
        self.log("s2", 3)
        result = self.export()
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(tuple(lines[0]), FIELDS)
        self.assertEqual([line["event"] for line in lines], [event(1), event(2), event(3)])
        self.assertEqual(result.stderr, "3 events of 2 sessions\n")
        self.assertEqual(self.lines(flight=self.flight["id"]), lines)

    def test_other_formats(self) -> None:
        self.log("s1", 1, 2)
        entries = json.loads(self.export("--format", "logui").stdout)
        self.assertEqual([entry["n"] for entry in entries], [1, 2])
        rows = list(csv.DictReader(io.StringIO(self.export("--format", "csv").stdout)))
        self.assertEqual([row["event.n"] for row in rows], ["1", "2"])
        self.assertIn("parquet", self.fails("export", "--flight", "F", "--format", "parquet", status=2))

    def test_columns_that_are_left_out_are_told(self) -> None:
        self.log("s1", 1)
        result = self.export("--format", "csv", "--max-columns", "1")
        self.assertIn("at most 1", result.stderr)
        self.assertEqual(result.stderr.splitlines()[-1], "1 events of 1 sessions")

    def test_one_session(self) -> None:
        self.log("s1", 1)
        self.log("s2", 2)
        self.journal.session("other", flight="other").send(3)
        self.journal.commit()
        self.assertEqual([line["sessionID"] for line in self.lines("--session", "s2")], ["s2"])
        for wrong in ("s3", "other", "a\udcff"):
            error = self.fails("export", "--flight", "F", "--session", wrong, "--output", str(self.out))
            self.assertIn("session", error)
            self.assertEqual(os.listdir(self.place), ["logui-data"])

    def test_times(self) -> None:
        for n in range(4):
            self.log(f"s{n}", n)
        first = NOW + 2000

        def seen(*arguments: str) -> list[int]:
            return [line["event"]["n"] for line in self.lines(*arguments)]

        self.assertEqual(seen("--since", str(first + 2000)), [1, 2, 3])
        self.assertEqual(seen("--until", "2025-10-09T08:53:24Z"), [0])
        self.assertEqual(seen("--since", "2025-10-09 10:53:24+02:00", "--until", "1760000006"), [1])
        self.assertEqual(seen("--since", "2025-10-10"), [])
        self.assertEqual(seen("--since", "2025-10-09", "--until", "2025-10-10"), [0, 1, 2, 3])
        self.assertIn("not a time", self.fails("export", "--flight", "F", "--since", "soon", status=2))

    def test_flights(self) -> None:
        self.log("s1", 1)
        for unknown in ("G", "", "a\udcff"):
            self.assertIn("no flight", self.fails("export", "--flight", unknown))
        self.succeeds("flight", "delete", "F", "--yes")
        self.assertIn("no flight", self.fails("export", "--flight", "F"))
        self.assertEqual(len(self.lines(flight=self.flight["id"])), 1, "what was logged stays")

    def test_nothing_was_logged(self) -> None:
        self.assertEqual(self.export().stdout, "")
        self.assertEqual(self.export("--format", "logui").stdout, "[]\n")
        self.assertEqual(self.export().stderr, "0 events of 0 sessions\n")

    def test_the_server_never_ran(self) -> None:
        folder = self.place / "fresh"
        result = self.run_bare("--data-dir", str(folder), "export", "--flight", "F")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertIn("has not run", result.stderr)


class FileTests(ExportCommandTestCase):
    def test_a_file(self) -> None:
        self.log("s1", 1)
        self.out.write_text("old")
        result = self.export("--output", str(self.out))
        self.assertEqual((result.stdout, result.stderr), ("", "1 events of 1 sessions\n"))
        self.assertEqual(json.loads(self.out.read_text())["event"], event(1))
        self.assertEqual(sorted(os.listdir(self.place)), ["logui-data", "out"])

    def test_through_a_link(self) -> None:
        self.log("s1", 1)
        link = self.place / "link"
        link.symlink_to(self.out)
        self.export("--output", str(link))
        self.assertTrue(link.is_symlink())
        self.assertEqual(json.loads(self.out.read_text())["event"], event(1))

    def test_a_failure_leaves_what_was_there(self) -> None:
        self.log("s1", 1)
        self.log("s2", 2)
        connection = open_journal(self.folder)
        connection.execute("UPDATE segment SET block = x'01' WHERE id = 2")
        connection.close()
        self.out.write_text("old")
        self.assertIn("segment 2", self.fails("export", "--flight", "F", "--output", str(self.out)))
        self.assertEqual(self.out.read_text(), "old")
        self.assertEqual(sorted(os.listdir(self.place)), ["logui-data", "out"])

    def test_unfinished_it_does_not_bear_its_name(self) -> None:
        self.log("s1", 1)
        seen: list[list[str]] = []
        lines = jsonl.lines

        def look(*arguments: Any) -> bytes:
            seen.append(sorted(os.listdir(self.place)))
            return lines(*arguments)

        self.patch(jsonl, "lines", look)
        self.export("--output", str(self.out))
        self.assertEqual(seen, [["logui-data", "out.part"]])

    def test_interrupted(self) -> None:
        self.log("s1", 1)

        def interrupt(*arguments: Any) -> bytes:
            raise KeyboardInterrupt

        self.patch(jsonl, "lines", interrupt)
        result = self.invoke("export", "--flight", "F", "--output", str(self.out))
        self.assertEqual((result.exit_code, result.output), (130, ""))
        self.assertEqual(os.listdir(self.place), ["logui-data"])

    def test_places_that_cannot_be_written(self) -> None:
        self.log("s1", 1)
        for place, why in [
            (self.place / "none" / "out", "No such file"),
            (self.place, "is a folder"),
            (Path("/dev/full"), "No space left"),
        ]:
            error = self.fails("export", "--flight", "F", "--output", str(place))
            self.assertIn(why, error)
            self.assertIn(str(place), error)

    def test_a_full_disk(self) -> None:
        self.log("s1", *({"clientDateTime": NOW, "x": "x" * 1000} for _ in range(3000)))

        def no_space() -> None:
            # Enough for what SQLite writes to read the databases, not for the export.
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

        command = self.command("--output", str(self.out))
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=no_space, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("File too large", done.stderr)
        self.assertEqual(os.listdir(self.place), ["logui-data"])

    def test_a_device(self) -> None:
        self.log("s1", 1)
        self.export("--output", "/dev/null")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))


class EndTests(ExportCommandTestCase):
    """How the real command ends when it is not let finish."""

    def setUp(self) -> None:
        super().setUp()
        session = self.journal.session("s1", flight=self.flight["id"])
        for _ in range(100):
            session.send(*({"clientDateTime": NOW, "x": "x" * 1000} for _ in range(50)))
        self.journal.commit()

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout
        # Far more than the pipe holds comes after this: the command is in the middle of it.
        self.assertEqual(process.stdout.read(1), b"{")
        return process

    def test_the_reader_goes_away(self) -> None:
        process = self.start()
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        self.assertEqual(process.wait(), 141)

    def test_ctrl_c(self) -> None:
        process = self.start()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        self.assertEqual((process.returncode, errors), (130, b""))


class TerminalTests(ExportCommandTestCase):
    def on_a_terminal(self, command: list[str], streams: Callable[[int], dict[str, int]]) -> str:
        """What a terminal got of a command, with the streams that were connected to it."""
        terminal, end = pty.openpty()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"}, **streams(end)
            )
        finally:
            os.close(end)
        text = b""
        try:
            while chunk := os.read(terminal, 65536):
                text += chunk
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(terminal)
        self.assertEqual(process.wait(), 0, text)
        return text.decode()

    def test_what_was_logged_does_not_command_the_terminal(self) -> None:
        hostile = {"clientDateTime": NOW, "x": "\x9b31m\x1b[2J\u202e é"}
        text = json.dumps(hostile, ensure_ascii=False).encode()
        self.log("s1", text)
        for form in ("jsonl", "csv", "logui"):
            shown = self.on_a_terminal(
                self.command("--format", form), lambda end: {"stdout": end, "stderr": end}
            )
            for bad in "\x9b\x1b\u202e":
                self.assertNotIn(bad, shown, form)
            self.assertIn("\\u009b31m", shown)
            self.assertIn("é", shown)
            if form == "jsonl":
                self.assertEqual(json.loads(shown.splitlines()[0])["event"], hostile)

    def test_a_bar_where_someone_looks(self) -> None:
        self.log("s1", *range(3000))
        shown = self.on_a_terminal(
            self.command("--output", str(self.out)), lambda end: {"stdout": end, "stderr": end}
        )
        self.assertIn("3000/3000", shown.replace(",", ""))
        self.assertIn("3000 events of 1 sessions", shown)
        shown = self.on_a_terminal(self.command(), lambda end: {"stdout": end, "stderr": end})
        self.assertNotIn("3000/3000", shown, "not amid what is written")


class MemoryTests(ExportCommandTestCase):
    def test_memory_does_not_grow_with_the_journal(self) -> None:
        """48 MB are exported, of sessions side by side and of one that is large alone, in far less."""
        filler = "x" * 100_000
        small = [self.journal.session(f"s{n}", flight=self.flight["id"]) for n in range(20)]
        large = self.journal.session("large", flight=self.flight["id"])
        for n in range(12):
            for session in (*small, *[large] * 20):
                session.send({"clientDateTime": NOW + n, "x": filler})
            self.journal.commit()
        nothing, _ = self.peak("--session", "s19", "--since", "2030-01-01")
        for form, session, events in [("jsonl", "", 480), ("logui", "", 480), ("csv", "large", 240)]:
            chosen = ["--session", session] if session else []
            everything, told = self.peak("--format", form, *chosen)
            self.assertEqual(told, f"{events} events of {1 if session else 21} sessions")
            self.assertLess(everything - nothing, 15_000_000, form)

    def peak(self, *arguments: str) -> tuple[int, str]:
        """The most memory that Python held for the command, in bytes; and what it told."""
        command = self.command(*arguments)
        command[2] = (
            "import sys, tracemalloc; from logui_tx.cli.main import main\n"
            "from logui_tx.journal.reader import JournalReader\n"
            "JournalReader.__init__.__kwdefaults__['memory'] = 4_000_000\n"
            "tracemalloc.start()\n"
            "try: main()\n"
            "finally: print(tracemalloc.get_traced_memory()[1], file=sys.stderr)"
        )
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
        )
        told, peak = done.stderr.splitlines()
        return int(peak), told
