"""``jsonl:`` as a sink: the contract, its URI, batches that come again, trouble with the disk."""

import gzip
import json
import os
from collections.abc import Iterator
from errno import ENOSPC
from os import strerror
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import zstandard
from attrs import evolve
from msgspec.structs import replace
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import BadOption, RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.sinks import jsonl
from logui_tx.sinks.jsonl import RESTED, JsonLines
from logui_tx.sinks.line_files import LineFiles
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import SinkContract, make_batch, make_record, make_session
from logui_tx.testing.sink_contract import made

FLIGHT = "22222222-2222-4222-8222-222222222222"


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

    async def test_a_new_identity_of_the_journal(self) -> None:
        """Who wrote there goes on there, also after a restart; others do not."""
        sink = await self.opened()
        state = await sink.write(make_batch(made([1])))
        crash(sink)
        sink = await self.opened(state=state)
        state = await sink.write(evolve(make_batch(made([2])), journal_id="fresh"))
        crash(sink)
        sink = await self.opened(state=state)
        await sink.write(evolve(make_batch(made([3])), journal_id="fresh"))
        self.assertEqual(self.kept(), [1, 2, 3])
        crash(sink)
        sink = await self.opened()
        with self.assertRaisesRegex(SinkAway, "another journal's events"):
            await sink.write(make_batch(made([4])))

    async def test_a_new_identity_and_a_crash_before_that_is_saved(self) -> None:
        """The state names the old id still, or, after a dead letter of before, an old one again."""
        sink = await self.opened()
        state = await sink.write(make_batch(made([1])))
        old = make_batch(made([1])).journal_id
        for ids in (("fresh",), ("fresh",), ("fresh", old), (old,)):
            for number, journal_id in enumerate(ids, 2):
                kept = state
                state = await sink.write(evolve(make_batch(made([number])), journal_id=journal_id))
            crash(sink)
            state = kept
            sink = await self.opened(state=state)
        await sink.write(make_batch(made([9])))
        self.assertEqual(self.kept(), [1, 2, 9])

    async def test_a_journal_from_a_backup_with_an_empty_folder(self) -> None:
        """As docs/operations.md has it: nothing is cut in the old one."""
        sink = await self.opened("?rotate=1")
        backup = b""
        for number in (1, 2, 3):
            state = await sink.write(make_batch(made([number])))
            sink.saved()
            backup = backup or state
        await sink.close()
        before = self.folder.rename(self.folder.with_name("before"))
        self.folder.mkdir()
        sink = await self.opened("?rotate=1", backup)
        await sink.write(make_batch(made([2])))
        await sink.write(evolve(make_batch(made([3])), journal_id="fresh"))
        self.assertEqual(self.kept(), [2, 3])
        self.assertEqual([json.loads(line)["seq"] for line in lines(before, "events")], [1, 2, 3])

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
        late = replace(make_record(2), received_at="2026-11-23T00:00:00.000Z")
        odd = replace(make_record(3), received_at="2026-11-23T00:00:00.000Z", flight_id="../x")
        await sink.write(make_batch([make_record(1), late, odd]))
        self.assertEqual(
            sorted(path.name for path in self.folder.glob("events_*")),
            [
                "events_%2E%2E%2Fx_2026-11-23_000003.jsonl.part",
                f"events_{FLIGHT}_2026-11-22_000001.jsonl.part",
                f"events_{FLIGHT}_2026-11-23_000002.jsonl.part",
            ],
        )

    async def test_a_batch_for_too_many_files(self) -> None:
        """It is taken in halves, so that the state can be saved; one record always is."""
        self.patch(jsonl, "MOST_OPEN", 2)
        sink = await self.opened()
        flights = [replace(record, flight_id=f"f{record.seq}") for record in made([1, 2, 3])]
        with self.assertRaisesRegex(RecordsRefused, "too many files for one batch: 3"):
            await sink.write(make_batch(flights))
        self.assertEqual(self.kept(), [])
        await sink.write(make_batch(flights[:2]))
        self.patch(jsonl, "MOST_OPEN", 0)
        await sink.write(make_batch(flights[2:]))
        self.assertEqual(self.kept(), [1, 2, 3])

    async def test_looking_does_not_disturb(self) -> None:
        sink = await self.opened()
        await sink.write(make_batch(made([1])))
        await sink.write(make_batch(made([2])))
        sink._look()
        await sink.write(make_batch(made([2])))
        await sink.write(make_batch(made([3])))
        self.assertEqual(self.kept(), [1, 2, 3])

    async def test_files_that_rest_are_finished_time_and_again(self) -> None:
        sink = await self.opened("?rotate-age=1m")
        now = reactor.seconds()
        for number in (1, 2):
            await sink.write(make_batch(made([number])))
            sink.saved()
            self.patch(sink._files, "_now", lambda: now + 2 * RESTED)
            await sink._in_thread(sink._finish_resting)
            self.assertEqual(len(list(self.folder.glob("*.jsonl"))), number)
            self.patch(sink._files, "_now", lambda: now)
        self.assertEqual(self.kept(), [1, 2])

    async def test_a_known_sink_in_the_folder_of_another_journal(self) -> None:
        """It does not cut what is not its own."""
        sink = await self.opened()
        state = await sink.write(make_batch(made([1])))
        await sink.close()
        (self.folder / ".logui-sink").write_text("another\n")
        later = self.folder / f"events_{FLIGHT}_2026-11-22_000007.jsonl.part"
        later.write_bytes(b"another's\n")
        again = make(f"jsonl:{self.folder}")
        self.addCleanup(again.close)
        with self.assertRaisesRegex(SinkAway, "holds another journal's events"):
            await again.open(state)
        self.assertEqual(later.read_bytes(), b"another's\n")
