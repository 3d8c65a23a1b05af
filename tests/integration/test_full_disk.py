import json
import os
import urllib.error
import urllib.request
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.web.client import connect
from tests.integration.full_disk import SmallDisk
from tests.integration.process import TWISTD, ServerProcess, logui_json
from tests.integration.served import Client, payload
from tests.integration.sessions import by_session, exported

POLL = 0.05


def health(server: ServerProcess) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz") as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class FullDiskTests(TestCase):
    """A data folder on a small file system that really fills up."""

    timeout = 120

    def setUp(self) -> None:
        self.disk = SmallDisk()
        self.addCleanup(self.disk.close)
        self.data_dir = self.disk.path / "data"

    async def greet(self, server: ServerProcess) -> Client:
        socket = await connect(reactor, server.url)
        self.addCleanup(socket.abort)
        client = Client(socket)
        hello = {
            "payloadType": "LogUIHandshake",
            "clientDateTime": 1_760_000_000_000,
            "appIdentifier": logui_json(self.data_dir, "flight", "token", "Demo")["token"],
            "appSpecificLogData": {"kept": True},
            "domain": "localhost",
        }
        welcome = await client.ask(hello)
        self.assertEqual(welcome["statusCode"], "200", welcome)
        client.session = welcome["sessionIdentifier"]
        return client

    async def until_status(self, server: ServerProcess, status: int) -> dict[str, Any]:
        """Health has no other sign than its page: ask until it says so; the test's timeout bounds it."""
        while True:
            found, report = await deferToThread(health, server)
            if found == status:
                return report
            await deferLater(reactor, POLL)

    async def test_it_is_announced_loses_nothing_and_recovers_by_itself(self) -> None:
        server = await deferToThread(ServerProcess, self.data_dir, "--demo", program=TWISTD)
        self.addCleanup(server.kill)
        client = await self.greet(server)
        stored: list[int] = []
        number = 0

        async def send(n: int, payload_id: int) -> dict[str, Any]:
            # Random text does not compress: the disk fills with what is said to fill it.
            event = {"clientDateTime": 1, "n": n, "text": os.urandom(2000).hex()}
            return await client.ask(payload(event, payloadID=payload_id))

        for _ in range(20):
            number += 1
            self.assertEqual((await send(number, number))["statusCode"], "201")
            stored.append(number)

        ballast = self.disk.fill()
        # What SQLite's log has room for already is still stored; then the answer changes.
        while True:
            number += 1
            answer = await send(number, number)
            if answer["statusCode"] != "201":
                break
            stored.append(number)
        self.assertEqual(answer["statusCode"], "500")
        self.assertEqual(answer["payloadID"], number)
        self.assertEqual(answer["errorDetails"]["terminate"], False)
        self.assertIn("full", answer["errorDetails"]["errorString"])
        report = await self.until_status(server, 503)
        self.assertEqual(report["parts"]["journal"]["state"], "failing")
        self.assertIn("full", report["parts"]["journal"]["detail"])

        # Later ids must wait for the refused one; a client that comes now is told the same.
        self.assertEqual((await send(number + 1, number + 1))["statusCode"], "500")
        newcomer = await self.greet(server)
        self.assertEqual((await newcomer.events(1))["statusCode"], "500")

        ballast.unlink()
        report = await self.until_status(server, 200)
        self.assertEqual(report["parts"]["journal"], {"state": "ok"})
        self.assertEqual((await send(number, number))["statusCode"], "201")
        self.assertEqual((await send(number + 1, number + 1))["statusCode"], "201")
        stored += [number, number + 1]
        self.assertEqual((await newcomer.events(1))["statusCode"], "201")

        self.assertEqual(await deferToThread(server.stop), 0)
        sessions = by_session(exported(self.data_dir, "Demo"))
        self.assertEqual([r["event"]["n"] for r in sessions[client.session]], stored)
        for records in sessions.values():
            self.assertEqual([r["seq"] for r in records], list(range(1, len(records) + 1)))
            self.assertTrue(all(r["appSpecificLogData"] == {"kept": True} for r in records))
        self.assertEqual(set(sessions), {client.session, newcomer.session})
        ends = {s["endReason"] for s in logui_json(self.data_dir, "session", "list")}
        self.assertEqual(ends, {"serverShutdown"})
