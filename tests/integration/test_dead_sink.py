"""A dead sink beside a good one: neither pages nor the good one notice, operators do, and it catches up."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.replay.player import Replay
from tests.integration.process import ServerProcess, logui_json
from tests.integration.receiver import Receiver
from tests.integration.sessions import exported, recorded

POLL = 0.05


class DeadSinkTests(TestCase):
    timeout = 180

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir, self.files = Path(folder.name) / "data", Path(folder.name) / "files"
        self.receiver = Receiver()
        self.receiver.start()
        self.addCleanup(self.receiver.stop)

    async def test_one_is_dead(self) -> None:
        dead, good = f"{self.receiver.uri}/x?name=dead&retry-max=100ms", f"jsonl:{self.files}?name=good"
        await self.receiver.stop()
        options = f"--sink={dead}", f"--sink={good}", "--sink-alarm=100ms", "--demo"
        self.server = await deferToThread(ServerProcess, self.data_dir, *options)
        self.addCleanup(self.server.kill)
        token = (await deferToThread(logui_json, self.data_dir, "flight", "token", "Demo"))["token"]
        replay = Replay(reactor, self.server.url, token, recorded(), speed=None, domain="localhost")
        account = await replay.run()
        self.assertTrue(account.complete)
        # The good one has everything while the other has nothing.
        await self.until("good", behind=0)
        bad, fine = await self.status()
        self.assertEqual((bad["state"], bad["behind"]), ("failing", account.acknowledged))
        self.assertIn("refused", bad["trouble"])
        self.assertEqual((fine["state"], fine["delivered"]), ("delivering", account.acknowledged))
        records = await deferToThread(self.lines)
        expected = {
            one["recordID"]: one for one in await deferToThread(list, exported(self.data_dir, "Demo"))
        }
        self.assertEqual(len(expected), account.acknowledged)
        self.assertEqual({one["recordID"]: one for one in records}, expected)
        # Operators see it.
        report = await self.report("degraded")
        self.assertEqual((report["status"], report["parts"]["sinks"]["state"]), ("degraded", "degraded"))
        self.assertRegex(
            report["parts"]["sinks"]["detail"], r"^sink 1 \(http\) is \d+ s and \d+ events behind$"
        )
        metrics = await self.metrics()
        self.assertEqual(metrics["logui_sink_lag_records", "dead"], account.acknowledged)
        self.assertGreater(metrics["logui_sink_lag_seconds", "dead"], 0.1)
        self.assertEqual(metrics["logui_sink_failing", "dead"], 1)
        self.assertEqual(metrics["logui_sink_lag_records", "good"], 0)
        self.assertEqual(metrics["logui_sink_delivered_records_total", "good"], account.acknowledged)
        # It comes back.
        self.receiver.start()
        await self.until("dead", behind=0)
        self.assertEqual({one["recordID"]: one for one in self.receiver.records}, expected)
        self.assertEqual(len(self.receiver.records), len(expected))
        await self.report("ok")
        self.assertEqual((await self.metrics())["logui_sink_failing", "dead"], 0)

    async def until(self, name: str, behind: int) -> None:
        while next(one for one in await self.status() if one["name"] == name)["behind"] != behind:
            await deferLater(reactor, POLL)

    async def report(self, status: str) -> Any:
        """The health page's, once it has this status."""
        while (found := json.loads(await self.page("healthz")))["status"] != status:
            await deferLater(reactor, POLL)
        return found

    async def status(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await deferToThread(logui_json, self.data_dir, "sink", "status")
        return found

    async def page(self, path: str) -> str:
        def ask() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}/{path}") as answer:
                return answer.read().decode()

        found: str = await deferToThread(ask)
        return found

    async def metrics(self) -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(await self.page("metrics"))
        return {
            (one.name, one.labels.get("sink", "")): one.value for each in families for one in each.samples
        }

    def lines(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for file in sorted(self.files.iterdir())
            if file.name.startswith("events")
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
