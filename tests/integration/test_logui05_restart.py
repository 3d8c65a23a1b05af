"""PROTOCOL, section 2: clients that come back in lockstep, when the server was restarted or full."""

from __future__ import annotations

import json
import select
import socket
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.model import Limits
from tests.integration.logui05 import LogUI05TestCase, exported
from tests.integration.logui05_client import ReleasedClient, all_of
from tests.integration.process import ServerProcess, logui_json

CLIENTS = 200


class ComingBackTestCase(TestCase):
    timeout = 300

    def setUp(self) -> None:
        self.clock = Clock()

    async def until(self, holds: Any) -> None:
        while not holds():
            await deferLater(reactor, 0.001)


class RestartTests(ComingBackTestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name)

    async def serve(self, port: int = 0) -> ServerProcess:
        server = await deferToThread(ServerProcess, self.data_dir, "--demo", port=port)
        self.addCleanup(server.kill)
        return server

    def begin(self, server: ServerProcess, count: int) -> list[ReleasedClient]:
        token = logui_json(self.data_dir, "flight", "token", "Demo")["token"]
        url = f"ws://127.0.0.1:{server.port}/ws/endpoint/"
        clients = [ReleasedClient(reactor, self.clock, url, token, name) for name in range(count)]
        for client in clients:
            client.start()
        return clients

    async def test_all_come_back_and_nothing_that_was_sent_is_lost(self) -> None:
        server = await self.serve()
        clients = self.begin(server, CLIENTS)
        await self.until(all_of(clients, lambda client: client.greeted))
        first = {client.name: client.session for client in clients}
        self.assertEqual(len(set(first.values())), CLIENTS)

        # They log on all the time, not in step, while the server stops and while there is none.
        for client in clients:
            for _ in range(client.name % 10):
                client.log()
        logging = LoopingCall(lambda: [client.log() for client in clients])
        self.addCleanup(lambda: logging.running and logging.stop())
        logging.start(0.02)
        await self.until(all_of(clients, lambda client: len(client.sent) >= 50))
        status = await deferToThread(server.stop)
        self.assertEqual(status, 0, server.log)
        await self.until(all_of(clients, lambda client: not client.greeted))
        await self.until(all_of(clients, lambda client: len(client.cache) >= 15))
        logging.stop()

        self.clock.advance(4.9)
        self.assertTrue(all_of(clients, lambda client: client.attempts == 1)())
        self.clock.advance(0.1)
        await self.until(all_of(clients, lambda client: not client.connecting))
        self.assertTrue(all_of(clients, lambda client: client.attempts == 2 and client.over is None)())
        server = await self.serve(server.port)
        self.clock.advance(10)
        await self.until(all_of(clients, lambda client: client.greeted))
        for client in clients:
            before, after = client.answers
            self.assertEqual(after, {**before, "newSessionCreated": False})
            self.assertEqual(client.session, first[client.name])

        for _ in range(12):
            for client in clients:
                client.log()
        await gatherResults([client.stop() for client in clients])
        await deferLater(reactor, 0)
        self.assertEqual(await deferToThread(server.stop), 0)
        self.check(clients, await deferToThread(exported, self.data_dir, "Demo"))

    def check(self, clients: list[ReleasedClient], records: list[dict[str, bytes]]) -> None:
        numbers, seqs = defaultdict(list), defaultdict(list)
        for record in records:
            details = json.loads(record["event"])["eventDetails"]
            session = json.loads(record["sessionID"])
            numbers[session].append(details["n"])
            seqs[session].append(int(record["seq"]))
            self.assertEqual(json.loads(record["appSpecificLogData"]), {"client": details["client"]})
        self.assertEqual(set(numbers), {client.session for client in clients})
        for client in clients:
            stored = numbers[client.session]
            self.assertEqual(seqs[client.session], list(range(1, len(stored) + 1)))
            self.assertEqual(stored, sorted(set(stored)), "each once, in the order of the page")
            self.assertEqual(set(client.sent) - set(stored), set())
            self.assertEqual(set(stored) - set(client.sent) - set(client.unsure), set())
            # What was cached while the server was away came later, whole.
            self.assertEqual(len(client.sent) + len(client.unsure), client.count)

    async def test_a_server_that_does_not_come_back(self) -> None:
        server = await self.serve()
        clients = self.begin(server, 5)
        await self.until(all_of(clients, lambda client: client.greeted))
        server.kill()
        await self.until(all_of(clients, lambda client: not client.greeted))
        for step, attempts in ((5, 2), (10, 3), (10, 4), (10, 5)):
            self.clock.advance(step)
            await self.until(all_of(clients, lambda client: not client.connecting))
            self.assertEqual({client.attempts for client in clients}, {attempts})
        self.assertEqual({client.over for client in clients}, {None})
        self.clock.advance(10)
        self.assertEqual({client.over for client in clients}, {1006})


class BacklogTests(LogUI05TestCase):
    def connected(self, count: int) -> int:
        """How many get through while the server has no time to take any."""
        waiting = [socket.socket() for _ in range(count)]
        for each in waiting:
            self.addCleanup(each.close)
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", self.port))
        return len(select.select([], waiting, [], 0)[1])

    async def test_all_may_come_at_once(self) -> None:
        self.assertEqual(self.connected(CLIENTS), CLIENTS)

    async def test_the_endpoint_may_say_how_many(self) -> None:
        await self.stop()
        self.start(listen=("tcp:0:interface=127.0.0.1:backlog=7",))
        self.assertLess(self.connected(CLIENTS), 10)


class OverloadTests(LogUI05TestCase):
    limits = Limits(max_connections=3, drain_timeout=0.2)

    async def test_who_is_refused_with_503_comes_back(self) -> None:
        clock = Clock()
        url = f"ws://127.0.0.1:{self.port}/ws/endpoint/"
        clients = [ReleasedClient(reactor, clock, url, self.token, name) for name in range(4)]
        for client in clients:
            client.start()
        await self.until(all_of(clients, lambda client: not client.connecting))
        await self.until(lambda: sum(client.greeted for client in clients) == 3)
        (refused,) = (client for client in clients if not client.greeted)
        refused.log()
        clock.advance(5)
        await self.until(lambda: not refused.connecting)
        self.assertFalse(refused.greeted)
        gone = next(client for client in clients if client.greeted)
        await gone.stop()
        await self.until(lambda: self.service._gate.connections == 2)
        clock.advance(10)
        await self.until(lambda: refused.greeted)
        self.assertEqual(refused.attempts, 3)
        for client in clients:
            if client is not gone:
                await client.stop()
        self.assertEqual(len(clock.getDelayedCalls()), 0)

    async def test_other_ends_are_for_good(self) -> None:
        clock = Clock()
        url = f"ws://127.0.0.1:{self.port}/ws/endpoint/"
        client = ReleasedClient(reactor, clock, url, "no token")
        client.start()
        await self.until(lambda: client.over)
        client.log()
        self.assertEqual((client.over, client.cache, client.attempts), (4004, [], 1))
        self.assertEqual(clock.getDelayedCalls(), [])
