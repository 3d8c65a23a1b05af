"""An export by several processes: it is the same, and ends as it should."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from logui_tx.errors import CorruptSegment, LoguiError
from logui_tx.export import jsonl, logui, parallel
from logui_tx.export.records import Selection, Tally
from logui_tx.journal.erase import erase_session
from logui_tx.journal.schema import open_journal
from tests.journals import NOW
from tests.logui05 import ITEM
from tests.logui05 import events as told
from tests.test_cli_export import ExportCommandTestCase
from tests.test_export_records import ExportTestCase

SESSIONS, ROUNDS = 12, 5


class ParallelTestCase(ExportTestCase):
    """Sessions of two flights and two dialects side by side; each makes a group."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(parallel, "LEAST", 1)
        dialects = ("logui-0.4", "logui-0.5")
        sessions = [
            self.journal.session(
                f"s{n}", flight=f"f{n // 2 % 2}", dialect=dialects[n % 2], client_started_at=NOW
            )
            for n in range(SESSIONS)
        ]
        for turn in range(ROUNDS):
            for n, session in enumerate(sessions):
                if n % 2:
                    items = [{**ITEM, "n": n, "turn": turn}] * (turn + 1)
                    session.send(*items, message=json.dumps(told(*items)).encode())
                else:
                    session.change(b'{"turn":%d}' % turn).send(n, turn)
            self.journal.commit()
        for session in sessions:
            session.end()
        self.journal.commit()

    def write(
        self,
        selection: Selection,
        *,
        jobs: int = 3,
        memory: int = 1,
        file: Any = None,
        tally: Tally | None = None,
    ) -> bytes:
        out = io.BytesIO() if file is None else file
        tally = tally or Tally()
        parallel.write(
            selection, out, tally, part=jsonl.write, data_dir=self.folder, jobs=jobs, memory=memory
        )
        return bytes(out.getvalue())


class SameTests(ParallelTestCase):
    def test_json_lines(self) -> None:
        first = NOW + 60_000
        for chosen in [{}, {"since": first}, {"until": first}, {"since": first, "until": first + 30_000}]:
            selection = self.select("f0", **chosen)
            expected, alone = io.BytesIO(), Tally()
            jsonl.write(selection, expected, alone)
            self.assertTrue(expected.getvalue())
            for jobs, memory in [(1, 1), (3, 1), (3, 30_000), (20, 1), (3, 1 << 30)]:
                advanced: list[int] = []
                tally = Tally(advanced.append)
                self.assertEqual(
                    self.write(selection, jobs=jobs, memory=memory, tally=tally), expected.getvalue()
                )
                self.assertEqual((tally.events, tally.sessions), (alone.events, alone.sessions))
                self.assertEqual(sum(advanced), alone.events)

    def test_the_array(self) -> None:
        for flight, chosen in [("f0", {}), ("f1", {"since": NOW + 60_000}), ("f0", {"since": NOW * 2})]:
            selection = self.select(flight, **chosen)
            expected, out = io.BytesIO(), io.BytesIO()
            logui.write(selection, expected, Tally())
            json.loads(expected.getvalue())

            def shared(selection: Selection, file: BinaryIO, tally: Tally) -> None:
                parallel.write(
                    selection, file, tally, part=logui.entries, data_dir=self.folder, jobs=3, memory=1
                )

            logui.write_array(selection, out, Tally(), shared)
            self.assertEqual(out.getvalue(), expected.getvalue())

    def test_more_than_a_chunk(self) -> None:
        """Of one session, of which all text has to wait for another's."""
        session = self.journal.session("large", flight="f0")
        for _ in range(39):
            session.send(*({"clientDateTime": NOW, "x": "x" * 50_000} for _ in range(2)))
        self.journal.session("after", flight="f0").send(1)
        self.journal.commit()
        selection, expected = self.select("f0"), io.BytesIO()
        jsonl.write(selection, expected, Tally())
        advanced: list[int] = []
        tally = Tally(advanced.append)
        self.assertEqual(self.write(selection, tally=tally), expected.getvalue())
        self.assertEqual(sum(advanced), tally.events)

    def test_a_session_that_is_erased_meanwhile(self) -> None:
        self.assertEqual(
            {json.loads(line)["sessionID"] for line in self.write(self.select("f1")).splitlines()},
            {"s2", "s3", "s6", "s7", "s10", "s11"},
        )
        out = self.at_first_write(lambda: erase_session(self.folder, "s6"))
        lines = self.write(self.select("f1"), jobs=1, file=out).splitlines()
        self.assertEqual(
            sorted({json.loads(line)["sessionID"] for line in lines}), ["s10", "s11", "s2", "s3", "s7"]
        )

    def at_first_write(self, act: Callable[[], Any]) -> Any:
        class File(io.BytesIO):
            def write(self, text: Any) -> int:
                if not self.tell():
                    act()
                return super().write(text)

        return File()


class EndTests(ParallelTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.processes: list[subprocess.Popen[bytes]] = []
        start = parallel._Worker.start

        def recorded() -> parallel._Worker:
            worker = start()
            self.processes.append(worker.process)
            return worker

        self.patch(parallel._Worker, "start", recorded)

    def tearDown(self) -> None:
        self.assertTrue(self.processes)
        self.assertNotIn(None, [process.returncode for process in self.processes])

    def test_as_many_as_there_is_work_for(self) -> None:
        self.write(self.select("f0"), jobs=20)
        self.assertEqual(len(self.processes), SESSIONS // 2)
        self.write(self.select("f0"), jobs=3)
        self.assertEqual(len(self.processes), SESSIONS // 2 + 3)

    def test_a_process_is_killed(self) -> None:
        def kill(text: bytes) -> None:
            self.processes[0].kill()

        class File:
            write = staticmethod(kill)

        error = self.assertRaises(LoguiError, self.write, self.select("f0"), jobs=1, file=File())
        self.assertIn("SIGKILL", str(error))
        self.assertIn("--jobs 1", str(error))

    def test_the_file_cannot_be_written(self) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            self.assertRaises(OSError, self.write, self.select("f0"), file=full)

    def test_a_corrupt_segment(self) -> None:
        connection = open_journal(self.folder)
        connection.execute("UPDATE segment SET block = x'01' WHERE id = 3")
        connection.close()
        alone = self.assertRaises(CorruptSegment, jsonl.write, self.select("f0"), io.BytesIO(), Tally())
        error = self.assertRaises(CorruptSegment, self.write, self.select("f0"))
        self.assertEqual(str(error), str(alone))

    def test_a_journal_that_is_gone(self) -> None:
        selection = self.select("f0")
        parts = {"part": jsonl.write, "data_dir": self.folder / "none", "jobs": 2}
        error = self.assertRaises(LoguiError, parallel.write, selection, io.BytesIO(), Tally(), **parts)
        self.assertIn("no journal", str(error))


class CommandTests(ExportCommandTestCase):
    """``logui export --jobs``."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(parallel, "LEAST", 1)
        sessions = [self.journal.session(f"s{n}", flight=self.flight["id"]) for n in range(20)]
        for _ in range(10):
            for session in sessions:
                session.send(*({"clientDateTime": NOW, "x": "x" * 1000} for _ in range(10)))
            self.journal.commit()

    def count_shares(self) -> list[int]:
        """Of how many processes each export was from now on that had others do its work."""
        shares: list[int] = []
        write = parallel.write

        def counted(*arguments: Any, jobs: int, **more: Any) -> None:
            shares.append(jobs)
            write(*arguments, jobs=jobs, **more)

        self.patch(parallel, "write", counted)
        return shares

    def test_a_small_export_is_one_process_work(self) -> None:
        shares = self.count_shares()
        few = self.export("--jobs", "2").stdout
        self.assertEqual(shares, [])
        self.patch(parallel, "FEW", 2000)
        for form in ("jsonl", "logui", "csv"):
            alone, several = (self.export("--jobs", jobs, "--format", form) for jobs in "12")
            self.assertEqual((several.stdout, several.stderr), (alone.stdout, alone.stderr))
            self.assertTrue(alone.stdout)
        self.assertEqual(shares, [2, 2])
        self.assertEqual(self.export("--jobs", "2").stdout, few)
        self.export("--jobs", "2", "--session", "s1")
        self.assertEqual(shares, [2, 2, 2], "one session is one process' work")
        self.assertIn("--jobs", self.fails("export", "--flight", "F", "--jobs", "0", status=2))

    def test_one_a_processor(self) -> None:
        shares = self.count_shares()
        self.patch(parallel, "FEW", 1)
        self.patch(os, "sched_getaffinity", lambda process: {1, 3, 4})
        self.export()
        self.assertEqual(shares, [3])

    def test_a_corrupt_segment(self) -> None:
        self.patch(parallel, "FEW", 1)
        connection = open_journal(self.folder)
        connection.execute("UPDATE segment SET block = x'01' WHERE id = 2")
        connection.close()
        one, two = (
            self.fails("export", "--flight", "F", "--jobs", jobs, "--output", str(self.out)) for jobs in "12"
        )
        self.assertIn("segment 2", one)
        self.assertEqual(two, one)
        self.assertEqual(os.listdir(self.place), ["logui-data"])

    def start(self) -> subprocess.Popen[bytes]:
        code = (
            "from logui_tx.cli.main import main; from logui_tx.export import parallel\n"
            "parallel.FEW = parallel.LEAST = 1; main()"
        )
        export = ["export", "--flight", "F", "--jobs", "2"]
        process = subprocess.Popen(
            [sys.executable, "-c", code, "--data-dir", str(self.folder), *export],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout
        # Far more than the pipe holds comes after this: the command is in the middle of it.
        self.assertEqual(process.stdout.read(1), b"{")
        self.workers = [
            int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        ]
        self.assertTrue(self.workers)
        self.assertNotIn(process.pid, map(os.getpgid, self.workers), "Ctrl-C is not for them")
        return process

    def assert_ends(self, process: subprocess.Popen[bytes], status: int, said: bytes = b"") -> None:
        _, errors = process.communicate()
        self.assertEqual((process.returncode, errors), (status, said))
        self.assertEqual([pid for pid in self.workers if Path(f"/proc/{pid}").exists()], [])

    def test_the_reader_goes_away(self) -> None:
        process = self.start()
        cast(BinaryIO, process.stdout).close()
        process.stdout = None
        self.assert_ends(process, 141)

    def test_ctrl_c(self) -> None:
        """A terminal sends it to the whole group of processes."""
        process = self.start()
        os.killpg(process.pid, signal.SIGINT)
        self.assert_ends(process, 130)
