"""A session goes on at another server when the first was killed, or hangs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from logui_tx.numbers import BLOCK
from tests.integration.frozen import freeze, thaw
from tests.integration.process import ServerProcess, logui
from tests.integration.served import Client, payload
from tests.integration.two_servers import TwoServersTestCase, jumps, stored

ROUNDS = 6
IN_FLIGHT = 5
"""Payloads that a client sends before it waits for their acknowledgements."""


async def log(number: int, client: Client, acknowledged: list[int]) -> None:
    """Payload after payload until the connection is lost; notes what was acknowledged."""
    sent = 0
    while True:
        sent += 1
        client.say(payload(sent, payloadID=sent))
        if sent % IN_FLIGHT == 0:
            while acknowledged[number] < sent:
                acknowledged[number] = (await client.hear())["payloadID"]


class KilledServerTests(TwoServersTestCase):
    """Server "c" is a process of its own."""

    timeout = 180

    def setUp(self) -> None:
        third = TemporaryDirectory()
        self.addCleanup(third.cleanup)
        done = super().setUp()
        self.folders["c"] = Path(third.name)
        return done

    def spawn(self) -> ServerProcess:
        shared = {name.replace("_", "-"): value for name, value in self.shared().items()}
        process = ServerProcess(self.folders["c"], *[f"--{name}={value}" for name, value in shared.items()])
        self.addCleanup(process.kill)
        self.port = process.port
        return process

    async def spawn_ready(self) -> ServerProcess:
        process = self.spawn()
        while (await self.report(process.port))[1]["parts"]["store"]["state"] != "ok":
            await deferLater(reactor, 0.01)
        return process

    async def test_with_everything_that_was_acknowledged(self) -> None:
        process = await self.spawn_ready()
        client = await self.greet(clientInstance="tab", appSpecificLogData={"user": "u"})
        await client.events(1, 2, payloadID=1)
        change = {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": {"step": 2}}
        await client.ask(change)
        await client.events(3, payloadID=2)
        process.kill()
        again = await self.greet_at("b", client.session, clientInstance="tab")
        self.assertEqual((again.session, again.welcome["lastPayloadID"]), (client.session, 2))
        await again.events(3, payloadID=2)
        await again.events(4, payloadID=3)
        data = {"user": "u", "step": 2}
        self.assertEqual(self.stored_at("b", client.session), [(BLOCK + 1, 4, data)])
        self.assertEqual(jumps(self.folders["b"]), [BLOCK + 1])
        shown = await deferToThread(logui, self.folders["b"], "session", "show", client.session)
        self.assertRegex(shown.stdout, r"Goes on +at 1000001 from 20")
        # And back, once it runs again.
        again.socket.close(1000)
        await self.rested("b", client.session)
        await self.spawn_ready()
        back = await self.greet(sessionIdentifier=client.session, clientInstance="tab")
        self.assertEqual((back.session, back.welcome["lastPayloadID"]), (client.session, 3))
        await back.events(5, payloadID=4)
        self.assertEqual(
            [(seq, n) for seq, n, _ in stored(self.folders["c"], client.session)],
            [(1, 1), (2, 2), (3, 3), (BLOCK + 2, 5)],
        )

    async def test_under_load_no_number_twice_and_nothing_acknowledged_lost(self) -> None:
        for _ in range(ROUNDS):
            process = await self.spawn_ready()
            clients = [await self.greet(clientInstance="tab") for _ in range(4)]
            acknowledged = [0] * len(clients)
            logging = [
                Deferred.fromCoroutine(log(n, client, acknowledged)) for n, client in enumerate(clients)
            ]
            await self.until(lambda acknowledged=acknowledged: min(acknowledged) >= 20)
            process.kill()
            await DeferredList(logging, consumeErrors=True)
            for client, least in zip(clients, acknowledged, strict=True):
                await self.go_on_elsewhere(client, least)

    async def go_on_elsewhere(self, client: Client, acknowledged: int) -> None:
        again = await self.greet_at("b", client.session, clientInstance="tab")
        last = again.welcome["lastPayloadID"]
        self.assertEqual(again.session, client.session)
        self.assertGreaterEqual(last, acknowledged)
        for n in range(last + 1, last + 8):
            await again.events(n, payloadID=n)
        here = [(seq, n) for seq, n, _ in stored(self.folders["c"], client.session)]
        there = [(seq, n) for seq, n, _ in self.stored_at("b", client.session)]
        self.assertEqual(here, [(n, n) for n in range(1, len(here) + 1)])
        self.assertEqual(there, [(BLOCK + at, last + at) for at in range(1, 8)])
        # More may stand there than is known here: committed in the moment of the kill, never acknowledged.
        self.assertGreaterEqual(len(here), last)
        self.assertLessEqual(len(here), last + IN_FLIGHT)

    async def test_one_that_hangs_is_waited_for_a_moment(self) -> None:
        process = await self.spawn_ready()
        client = await self.greet(clientInstance="tab")
        await client.events(1, payloadID=1)
        freeze(process.process.pid)
        try:
            again = await self.greet_at("b", client.session, clientInstance="tab")
        finally:
            thaw(process.process.pid)
        self.assertEqual((again.session, again.welcome["lastPayloadID"]), (client.session, 1))
        await again.events(2, payloadID=2)
        self.assertEqual([seq for seq, _, _ in self.stored_at("b", client.session)], [BLOCK + 1])
