"""The files of a folder: names, rotation, what is cut off after a crash, and whose the folder is."""

import gzip
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import SinkAway
from logui_tx.sinks import line_files
from logui_tx.sinks.line_files import LOCK, LineFiles, State, Stream, safe

JOURNAL = "6f3f4a56-6c1c-4f40-9a3c-0d3cf5f0a001"
FLIGHT = "22222222-2222-4222-8222-222222222222"
NOON = 1_795_348_800.0
DAY = 86_400.0
RESTED = 600.0


class NameTests(SynchronousTestCase):
    def test_nothing_is_special(self) -> None:
        for text in (
            "../../etc/passwd",
            "a/b",
            "",
            ".",
            "..",
            "a\0b",
            "\ud83d",
            "_x_",
            "~",
            "-rf *",
            "ü" * 300,
        ):
            found = safe(text)
            self.assertRegex(found, r"\A[A-Za-z0-9%-]{0,120}\Z")
            self.assertNotEqual(found, safe(text + "x"))

    def test_an_id_is_itself(self) -> None:
        self.assertEqual(safe(FLIGHT), FLIGHT)


class FolderTests(SynchronousTestCase):
    """The folder itself, without threads."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory())) / "logui"
        self.now = NOON
        self.all: list[LineFiles] = []

    def files(self, state: State | None = None, **more: Any) -> LineFiles:
        """As a server begins with it; others before have crashed."""
        for one in self.all:
            one.release()
        usual = {"rotate": 100, "rotate_age": 0.0, "compress": "none", "fsync": True, "mode": 0o700}
        options: dict[str, Any] = {**usual, **more}
        files = LineFiles(self.folder, lambda: self.now, **options)
        self.all.append(files)
        self.addCleanup(files.release)
        if state is None:
            files.make()
        files.claim()
        files.restore(state)
        return files

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name != LOCK)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def test_one_file_a_flight_and_day(self) -> None:
        files = self.files()
        a, b = Stream("events", "a", "2026-11-22"), Stream("events", "b", "2026-11-22")
        files.write({a: b"1\n", b: b"2\n"})
        files.write({a: b"3\n"})
        self.assertEqual(
            self.names(),
            ["events_a_2026-11-22_000001.jsonl.part", "events_b_2026-11-22_000002.jsonl.part"],
        )
        self.assertEqual(self.text("events_a_2026-11-22_000001.jsonl.part"), "1\n3\n")

    def test_a_day_that_is_over(self) -> None:
        """Told by what is written, not by the clock: a sink may catch up with the days before."""
        files = self.files()
        first, second = Stream("events", "a", "2026-10-01"), Stream("events", "a", "2026-10-02")
        sessions = Stream("sessions", "a", "2026-11-22")
        files.write({first: b"1\n", sessions: b"s\n"})
        files.write({first: b"2\n"})
        files.write({first: b"3\n", second: b"4\n"})
        self.assertIn("events_a_2026-10-01_000001.jsonl.part", self.names())
        files.write({second: b"5\n"})
        self.assertEqual(
            self.names(),
            [
                "events_a_2026-10-01_000001.jsonl",
                "events_a_2026-10-02_000003.jsonl.part",
                "sessions_a_2026-11-22_000002.jsonl.part",
            ],
        )

    def test_size_and_age(self) -> None:
        files = self.files(rotate=10, rotate_age=60.0)
        stream = Stream("events", "a", "2026-11-22")
        files.write({stream: b"123456789\n"})
        files.write({stream: b"2\n"})
        self.now += 59
        files.write({stream: b"3\n"})
        self.now += 1
        files.write({stream: b"4\n"})
        found = {name: self.text(name) for name in self.names()}
        self.assertEqual(
            found,
            {
                "events_a_2026-11-22_000001.jsonl": "123456789\n",
                "events_a_2026-11-22_000002.jsonl": "2\n3\n",
                "events_a_2026-11-22_000003.jsonl.part": "4\n",
            },
        )

    def test_finished_though_nothing_comes(self) -> None:
        files = self.files()
        files.write({Stream("events", "a", "2026-11-22"): b"1\n"})
        self.now += RESTED
        files.finish_resting(RESTED)
        self.assertEqual(self.names(), ["events_a_2026-11-22_000001.jsonl.part"])
        self.now += DAY / 2 - 1
        files.write({Stream("events", "a", "2026-11-22"): b"2\n"})
        self.now += 2
        files.finish_resting(RESTED)
        self.assertEqual(self.names(), ["events_a_2026-11-22_000001.jsonl.part"])
        self.now += RESTED
        files.finish_resting(RESTED)
        self.assertEqual(self.names(), ["events_a_2026-11-22_000001.jsonl"])
        self.assertEqual(files.state.files, ())

    def test_compressed(self) -> None:
        for compress, ending in (("gzip", "gz"), ("zstd", "zst")):
            files = self.files(compress=compress, rotate=10)
            day = f"2026-11-{len(ending):02}"
            for n in range(3):
                files.write({Stream("events", "a", day): b'{"n":%d,"x":"xxxxx"}\n' % n})
            names = [
                name
                for name in self.names()
                if name.endswith(f"{day}_{files.state.next - 2:06}.jsonl.{ending}")
            ]
            self.assertEqual(len(names), 1, self.names())
            read = pandas.read_json(self.folder / names[0], lines=True)
            self.assertEqual(list(read["n"]), [1])
        self.assertEqual([name for name in self.names() if name.endswith(".new")], [])

    # --- after a crash

    def test_what_is_beyond_is_cut_off(self) -> None:
        files = self.files()
        a, b = Stream("events", "a", "2026-11-22"), Stream("events", "b", "2026-11-22")
        files.write({a: b"1\n"})
        state = files.state
        files.write({a: b"2\n", b: b"3\n"})
        (self.folder / "events_c_2026-11-22_000009.jsonl.gz.new").write_bytes(b"half")
        again = self.files(state)
        self.assertEqual(self.names(), ["events_a_2026-11-22_000001.jsonl.part"])
        self.assertEqual(self.text("events_a_2026-11-22_000001.jsonl.part"), "1\n")
        again.write({a: b"2\n", b: b"3\n"})
        self.assertEqual(again.state.next, 3)
        self.assertEqual(self.text("events_a_2026-11-22_000001.jsonl.part"), "1\n2\n")

    def test_what_was_finished_stays(self) -> None:
        for compress in ("none", "gzip"):
            files = self.files(rotate=1, compress=compress)
            stream = Stream("events", compress, "2026-11-22")
            files.write({stream: b"1\n"})
            state = files.state
            files.write({stream: b"2\n"})
            before = self.names()
            last = files.state.files[0].name
            again = self.files(state, rotate=1, compress=compress)
            self.assertEqual(self.names(), [name for name in before if name != f"{last}.part"])
            again.write({stream: b"2\n"})
            self.assertEqual(self.names(), before)

    def test_killed_while_it_was_compressed(self) -> None:
        """The finished file has its name, and the other one is still there."""
        files = self.files(rotate=1, compress="gzip")
        stream = Stream("events", "a", "2026-11-22")
        files.write({stream: b"1\n"})
        state = files.state
        (self.folder / "events_a_2026-11-22_000001.jsonl.gz").write_bytes(gzip.compress(b"1\n"))
        again = self.files(state, rotate=1, compress="gzip")
        self.assertEqual(self.names(), ["events_a_2026-11-22_000001.jsonl.gz"])
        again.write({stream: b"2\n"})
        self.assertEqual(len(self.names()), 2)

    def test_files_of_an_earlier_life_stay(self) -> None:
        files = self.files()
        stream = Stream("events", "a", "2026-11-22")
        files.write({stream: b"1\n"})
        (self.folder / "notes.txt").write_text("mine")
        (self.folder / "events_a_2026-11-21_000007.jsonl.gz").write_text("")
        again = self.files()
        again.write({stream: b"2\n"})
        self.assertEqual(
            self.names(),
            [
                "events_a_2026-11-21_000007.jsonl.gz",
                "events_a_2026-11-22_000001.jsonl.part",
                "events_a_2026-11-22_000008.jsonl.part",
                "notes.txt",
            ],
        )

    def test_files_that_somebody_took(self) -> None:
        files = self.files()
        stream = Stream("events", "a", "2026-11-22")
        files.write({stream: b"1\n"})
        (self.folder / "events_a_2026-11-22_000001.jsonl.part").unlink()
        files.write({stream: b"2\n"})
        state = files.state
        (self.folder / "events_a_2026-11-22_000002.jsonl.part").write_bytes(b"")
        files = self.files(state)
        files.write({stream: b"3\n"})
        self.assertEqual(self.text("events_a_2026-11-22_000003.jsonl.part"), "3\n")
        self.assertEqual(len(self.names()), 2)

    def test_not_too_many_at_a_time(self) -> None:
        """All of them are in the state; the one that rested longest goes, and a crash changes nothing."""
        self.patch(line_files, "MOST_OPEN", 2)
        a, b, c, d = (Stream("events", name, "2026-11-22") for name in "abcd")
        files = self.files(compress="gzip")
        for n, stream in enumerate([a, b, a]):
            self.now = NOON + n
            files.write({stream: b"%d\n" % n})
        state = files.state
        for _ in range(2):
            files.write({c: b"3\n", a: b"4\n"})
            self.assertEqual([one.stream for one in files.state.files], [a, c])
            files = self.files(state, compress="gzip")
        files.write({c: b"3\n", a: b"4\n"})
        files.write(dict.fromkeys((a, b, c, d), b"5\n"))
        self.assertEqual(len(files.state.files), 4, "one batch may need more")
        files.write({d: b"6\n"})
        self.assertEqual([one.stream for one in files.state.files], [b, d])
        found: dict[str, str] = {}
        for path in sorted(self.folder.glob("events_*"), key=lambda path: path.name.split("_")[3]):
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            flight = path.name.split("_")[1]
            found[flight] = found.get(flight, "") + text.decode().replace("\n", "")
        self.assertEqual(found, {"a": "0245", "b": "15", "c": "35", "d": "56"})

    # --- whose the folder is

    def test_permissions(self) -> None:
        for umask in (0o077, 0o000):
            self.addCleanup(os.umask, os.umask(umask))
            self.folder = self.folder.with_name(f"logui-{umask}")
            files = self.files(mode=0o770, rotate=1, compress="gzip")
            stream = Stream("events", "a", "2026-11-22")
            files.write({stream: b"1\n"})
            files.write({stream: b"1\n"})
            self.assertEqual(self.folder.stat().st_mode & 0o777, 0o770)
            self.assertEqual([path.stat().st_mode & 0o777 for path in self.folder.iterdir()], [0o660] * 3)

    def test_permissions_that_were_changed_stay(self) -> None:
        files = self.files(mode=0o770)
        stream = Stream("events", "a", "2026-11-22")
        files.write({stream: b"1\n"})
        (part,) = self.folder.glob("*.part")
        part.chmod(0o600)
        files.write({stream: b"1\n"})
        self.assertEqual(part.stat().st_mode & 0o777, 0o600)

    def test_two_at_once(self) -> None:
        files = self.files()
        other = LineFiles(
            self.folder, lambda: NOON, rotate=1, rotate_age=0, compress="none", fsync=True, mode=0o700
        )
        with self.assertRaisesRegex(SinkAway, "another server, or another sink, writes there"):
            other.claim()
        files.release()
        other.claim()
        self.addCleanup(other.release)

    def test_another_journal(self) -> None:
        files = self.files()
        files.belong(JOURNAL)
        files.belong(JOURNAL)
        with self.assertRaisesRegex(SinkAway, "holds another journal's events"):
            files.belong("another")
        (self.folder / LOCK).unlink()
        files.claim()
        files.belong("another")
