import gzip
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.journal import cursors
from logui_tx.journal.schema import open_reader
from logui_tx.web.client import connect
from tests.integration.full_disk import SmallDisk
from tests.integration.process import ServerProcess, logui_json
from tests.integration.served import Client, payload
from tests.integration.sink_chaos import SinkChaos

POLL = 0.05


def lines(folder: Path, kind: str) -> Iterator[Any]:
    """All of a kind, in the order of the files' numbers."""
    for path in sorted(folder.glob(f"{kind}_*"), key=lambda path: path.name.split("_")[3]):
        text = path.read_bytes()
        text = gzip.decompress(text) if path.suffix == ".gz" else text
        yield from map(json.loads, text.splitlines())


class ChaosTests(SinkChaos, TestCase):
    """The other end is a disk that comes and goes."""

    seed = 3

    def setUp(self) -> None:
        super().setUp()
        self.place = Path(self.enterContext(TemporaryDirectory())) / "place"
        self.place.mkdir()
        self.folder = self.place / "logui"

    def sink_uri(self) -> str:
        return f"jsonl:{self.folder}?rotate=50KB&compress=gzip"

    async def kill_other_end(self) -> None:
        self.place.rename(self.place.with_name("elsewhere"))

    async def start_other_end(self) -> None:
        self.place.with_name("elsewhere").rename(self.place)

    async def held(self) -> list[dict[str, Any]]:
        self.assertGreater(len(list(self.folder.glob("*.jsonl.gz"))), 1)
        self.assertEqual(list(self.folder.glob("*.new")), [])
        return list(lines(self.folder, "events"))

    async def held_sessions(self) -> dict[str, str | None]:
        return {one["id"]: one["endReason"] for one in lines(self.folder, "sessions")}


class TroubleTests(TestCase):
    """Trouble with the disk, told, and over without a restart; the journal is elsewhere."""

    timeout = 120

    async def begin(self, folder: Path, more: str = "") -> None:
        self.data_dir = Path(self.enterContext(TemporaryDirectory())) / "data"
        uri = f"jsonl:{folder}?name=files&batch-age=0&retry-max=50ms{more}"
        self.server = await deferToThread(ServerProcess, self.data_dir, "--demo", "--sink", uri)
        self.addCleanup(self.server.kill)
        socket = await connect(reactor, self.server.url)
        self.addCleanup(socket.abort)
        self.client = Client(socket)
        hello = {
            "payloadType": "LogUIHandshake",
            "clientDateTime": 1_760_000_000_000,
            "appIdentifier": logui_json(self.data_dir, "flight", "token", "Demo")["token"],
            "appSpecificLogData": {},
            "domain": "localhost",
        }
        self.assertEqual((await self.client.ask(hello))["statusCode"], "200")
        self.sent = 0

    async def send(self, size: int = 10) -> None:
        """One event, which is stored whatever the sink does."""
        self.sent += 1
        event = {"clientDateTime": 1, "n": self.sent, "text": os.urandom(size).hex()}
        self.assertEqual((await self.client.ask(payload(event, payloadID=self.sent)))["statusCode"], "201")

    def cursor(self) -> tuple[bool, str | None]:
        """Whether everything is delivered, and what keeps it from that."""
        with closing(open_reader(self.data_dir)) as connection:
            cursor = cursors.cursor(connection, "files")
            end = cursors.end(connection)
        return (False, None) if cursor is None else (cursor.position >= end, cursor.trouble)

    async def until(self, delivered: bool) -> str | None:
        """Until everything is delivered, or there is trouble; the test's timeout bounds it."""
        while True:
            all_, trouble = await deferToThread(self.cursor)
            if (all_ and trouble is None) if delivered else trouble:
                return trouble
            await deferLater(reactor, POLL)

    def check(self, folder: Path) -> None:
        found = [one["event"]["n"] for one in lines(folder, "events")]
        self.assertEqual(found, list(range(1, self.sent + 1)))

    async def test_a_full_disk(self) -> None:
        disk = SmallDisk("1m")
        self.addCleanup(disk.close)
        folder = disk.path / "logui"
        await self.begin(folder)
        await self.send()
        await self.until(delivered=True)
        ballast = disk.fill()
        for _ in range(20):
            await self.send(2000)
        self.assertEqual(await self.until(delivered=False), f"{folder}: No space left on device")
        for _ in range(20):
            await self.send(2000)
        ballast.unlink()
        await self.until(delivered=True)
        self.check(folder)

    async def test_a_full_disk_while_files_are_compressed(self) -> None:
        disk = SmallDisk("1m")
        self.addCleanup(disk.close)
        folder = disk.path / "logui"
        await self.begin(folder, "&rotate=1KB&compress=gzip")
        await self.send(5000)
        await self.until(delivered=True)
        ballast = disk.fill()
        await self.send(5000)
        self.assertEqual(await self.until(delivered=False), f"{folder}: No space left on device")
        ballast.unlink()
        await self.until(delivered=True)
        self.check(folder)

    async def test_the_folder_is_removed_and_made_again(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory())) / "logui"
        await self.begin(folder)
        await self.send()
        await self.until(delivered=True)
        shutil.rmtree(folder)
        await self.send()
        self.assertEqual(await self.until(delivered=False), f"{folder}: No such file or directory")
        folder.mkdir()
        await self.send()
        await self.until(delivered=True)
        self.assertEqual([one["event"]["n"] for one in lines(folder, "events")], [2, 3])

    async def test_two_servers_and_one_folder(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory())) / "logui"
        await self.begin(folder)
        first = self.server
        await self.send()
        await self.until(delivered=True)
        await self.begin(folder)
        await self.send()
        self.assertEqual(
            await self.until(delivered=False), f"{folder}: another server, or another sink, writes there"
        )
        await deferToThread(first.stop)
        while not str((trouble := await self.until(delivered=False)) or "").endswith(
            "remove its .logui-sink"
        ):
            await deferLater(reactor, POLL)
        self.assertEqual(
            trouble,
            f"{folder}: holds another journal's events; choose another folder, or remove its .logui-sink",
        )
        (folder / ".logui-sink").unlink()
        await self.until(delivered=True)
        self.assertEqual([one["event"]["n"] for one in lines(folder, "events")], [1, 1])
