"""Lines in files: what the URI says, names, rotation, and what is cut off after a crash."""

import gzip
import json
import os
from collections.abc import Iterator
from errno import ENOSPC
from os import strerror
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import pandas
import zstandard
from attrs import evolve
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import BadOption, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.sinks.jsonl import RESTED, JsonLines
from logui_tx.sinks.line_files import LOCK, LineFiles, State, Stream, safe
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import SinkContract, make_batch, make_record, make_session
from logui_tx.testing.sink_contract import JOURNAL, made

FLIGHT = "22222222-2222-4222-8222-222222222222"
NOON = 1_795_348_800.0
DAY = 86_400.0


def make(uri: str) -> JsonLines:
    maker, read, _ = read_uri(uri, sink_makers())
    found = maker.make(read, reactor)
    assert isinstance(found, JsonLines)
    return found


def crash(sink: JsonLines) -> None:
    """What the kernel does for a process that dies: its lock is gone."""
    sink._files.release()


def lines(folder: Path, kind: str) -> Iterator[Any]:
    """All of a kind, in the order of the files' numbers."""
    for path in sorted(folder.glob(f"{kind}_*"), key=lambda path: path.name.split("_")[3]):
        text = path.read_bytes()
        if path.suffix == ".gz":
            text = gzip.decompress(text)
        elif path.suffix == ".zst":
            text = zstandard.ZstdDecompressor().decompress(text)
        yield from text.splitlines(keepends=True)


class ContractTests(SinkContract, TestCase):
    query = ""

    def setUp(self) -> None:
        self.place = Path(self.enterContext(TemporaryDirectory())) / "place"
        self.place.mkdir()
        self.folder = self.place / "logui"
        self.sinks: list[JsonLines] = []

    def make_sink(self) -> ISink:
        for sink in self.sinks:
            crash(sink)
        self.sinks.append(make(f"jsonl:{self.folder}{self.query}"))
        return self.sinks[-1]

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        found = []
        for line in lines(self.folder, "events"):
            self.assertTrue(line.endswith(b"\n"))
            one = json.loads(line)
            event = line.partition(b',"event":')[2][:-2]
            found.append((one["recordID"], one["sessionID"], one["seq"], event))
        return found

    async def kept_sessions(self) -> dict[str, str | None]:
        return {one["id"]: one["endReason"] for one in map(json.loads, lines(self.folder, "sessions"))}

    async def take_away(self) -> None:
        self.place.rename(self.place.with_name("elsewhere"))

    async def bring_back(self) -> None:
        self.place.with_name("elsewhere").rename(self.place)


class SmallFilesContractTests(ContractTests):
    """Each batch finishes the file of the one before."""

    query = "?rotate=1&compress=zstd"


class GzipContractTests(ContractTests):
    query = "?rotate=1&compress=gzip&fsync=no"


class URITests(SynchronousTestCase):
    def test_what_would_be_right(self) -> None:
        for uri, why in {
            "jsonl:": "needs a folder: jsonl:/var/log/logui would be one",
            "jsonl://var/log": "names a folder of this machine",
            "jsonl://user:hunter2@/var/log": "names a folder of this machine",
            "jsonl:/x?compress=lz4": "compress: one of none, gzip, zstd is expected",
            "jsonl:/x?fsync=maybe": "fsync: one of yes, no is expected",
            "jsonl:/x?mode=0077": "mode: permissions are expected, such as 0700 or 0750",
            "jsonl:/x?mode=rwx": "mode: permissions are expected",
            "jsonl:/x?rotate=0": "rotate: at least 1 is expected",
            "jsonl:/x?rotate-age=0": "rotate-age: at least 1 is expected",
            "jsonl:/x?rotat=1": "did you mean rotate?",
        }.items():
            with self.subTest(uri), self.assertRaises(BadOption) as caught:
                make(uri)
            self.assertIn(why, str(caught.exception))
            self.assertNotIn("hunter2", str(caught.exception))


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

    # --- whose the folder is

    def test_permissions(self) -> None:
        files = self.files(mode=0o750, rotate=1, compress="gzip")
        stream = Stream("events", "a", "2026-11-22")
        files.write({stream: b"1\n"})
        files.write({stream: b"1\n"})
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o750)
        for path in self.folder.iterdir():
            self.assertEqual(path.stat().st_mode & 0o777 & ~0o640, 0, path)

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


class SinkTests(TestCase):
    """What the sink itself adds."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory())) / "logui"

    async def opened(self, query: str = "", state: bytes = b"") -> JsonLines:
        sink = make(f"jsonl:{self.folder}{query}")
        self.addCleanup(sink.close)
        await sink.open(state)
        return sink

    def kept(self) -> list[int]:
        return [json.loads(line)["seq"] for line in lines(self.folder, "events")]

    async def test_killed_in_the_first_batch(self) -> None:
        sink = await self.opened()
        batch = make_batch(made([1, 2]), [make_session()])
        preparing = sink.prepare(batch)
        assert preparing is not None
        state = await preparing
        await sink.write(batch)
        crash(sink)
        again = await self.opened(state=state)
        await again.write(batch)
        self.assertEqual(self.kept(), [1, 2])
        self.assertIsNone(again.prepare(batch))

    async def test_a_batch_that_has_grown(self) -> None:
        """Its end could not be saved; what came meanwhile is offered with it."""
        sink = await self.opened()
        await sink.write(make_batch(made([1, 2])))
        await sink.write(make_batch(made([3])))
        await sink.write(make_batch(made([3, 4])))
        await sink.write(make_batch(made([5])))
        self.assertEqual(self.kept(), [1, 2, 3, 4, 5])

    async def test_a_dead_letter_from_where_the_last_batch_began(self) -> None:
        """A step could not do with number 3; it comes after the rest of its batch."""
        sink = await self.opened()
        await sink.write(evolve(make_batch(made([3, 4, 5])), records=tuple(made([4, 5]))))
        await sink.write(make_batch(made([3])))
        self.assertEqual(self.kept(), [4, 5, 3])

    async def test_after_a_failure_the_good_length(self) -> None:
        sink = await self.opened()
        await sink.write(make_batch(made([1])))
        sync = LineFiles._sync

        def fails(_files: LineFiles, file: IO[bytes]) -> None:
            file.flush()
            raise OSError(ENOSPC, strerror(ENOSPC))

        for _ in range(2):
            self.patch(LineFiles, "_sync", fails)
            with self.assertRaisesRegex(SinkAway, f"{self.folder}: No space left on device"):
                await sink.write(make_batch(made([2])))
        self.patch(LineFiles, "_sync", sync)
        await sink.write(make_batch(made([2])))
        self.assertEqual(self.kept(), [1, 2])

    async def test_the_folder_is_gone_and_made_again(self) -> None:
        sink = await self.opened()
        await sink.write(make_batch(made([1])))
        moved = self.folder.rename(self.folder.with_name("moved"))
        for _ in range(2):
            with self.assertRaisesRegex(SinkAway, f"{self.folder}: No such file or directory"):
                await sink.write(make_batch(made([2])))
        self.folder.mkdir()
        await sink.write(make_batch(made([2])))
        self.assertEqual(self.kept(), [2])
        self.assertEqual([json.loads(line)["seq"] for line in lines(moved, "events")], [1])

    async def test_not_a_folder(self) -> None:
        self.folder.write_text("")
        with self.assertRaisesRegex(SinkAway, "File exists|Not a directory"):
            await self.opened()

    async def test_permission_denied(self) -> None:
        if os.geteuid() == 0:
            # Root may everything, but not here.
            self.folder = Path("/proc/logui")
            why = "No such file|denied|not permitted"
        else:
            self.folder.parent.chmod(0o500)
            why = "Permission denied"
        with self.assertRaisesRegex(SinkAway, f"{self.folder}: ({why})"):
            await self.opened()

    async def test_another_day_begins_with_its_records(self) -> None:
        sink = await self.opened()
        late = evolve(make_record(2), received_at="2026-11-23T00:00:00.000Z")
        odd = evolve(make_record(3), received_at="2026-11-23T00:00:00.000Z", flight_id="../x")
        await sink.write(make_batch([make_record(1), late, odd]))
        self.assertEqual(
            sorted(path.name for path in self.folder.glob("events_*")),
            [
                "events_%2E%2E%2Fx_2026-11-23_000003.jsonl.part",
                f"events_{FLIGHT}_2026-11-22_000001.jsonl.part",
                f"events_{FLIGHT}_2026-11-23_000002.jsonl.part",
            ],
        )

    async def test_looking_does_not_disturb(self) -> None:
        sink = await self.opened()
        await sink.write(make_batch(made([1])))
        sink._look()
        await sink.write(make_batch(made([2])))
        self.assertEqual(self.kept(), [1, 2])
