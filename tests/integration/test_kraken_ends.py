"""PROTOCOL, section 3, CLOSING: the server computes a session's duration, however the session ends."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.model import Session
from logui_tx.web.client import connect
from tests.integration.process import ServerProcess, logui_json
from tests.integration.served import Client
from tests.integration.visitors import START, VisitedTestCase, move


class EndTests(VisitedTestCase):
    async def assert_ended(self, client: Client, reason: str, events: int = 1) -> Session:
        session = await self.ended(client.session)
        self.assertEqual((session.end_reason, session.events), (reason, events))
        assert session.ended_at is not None
        self.assertEqual(session.duration, (session.ended_at - session.started_at) / 1000)
        # The client's own times, which are of another day, do not count.
        self.assertLessEqual(self.began, session.started_at)
        self.assertLessEqual(session.ended_at, int(time.time() * 1000))
        return session

    async def client(self) -> Client:
        self.began = int(time.time() * 1000)
        client = await self.visit()
        self.assertEqual(await client.ask(move(1)), {"type": "ack", "stored": 1})
        return client

    async def test_a_message(self) -> None:
        client = await self.client()
        client.say(move(2))
        client.say({"type": "close"})
        client.say(move(3))
        self.assertEqual(await client.hear(), {"type": "ack", "stored": 2})
        self.assertEqual((await client.end()).code, 1000)
        await self.assert_ended(client, "closed", 2)

    async def test_a_message_that_is_not_waited_for(self) -> None:
        client = await self.client()
        client.say(move(2))
        client.say({"type": "close"})
        client.socket.close()
        await client.socket.closed
        await self.assert_ended(client, "closed", 2)

    async def test_a_close_frame(self) -> None:
        for code in (1000, 1001, 4000):
            client = await self.client()
            client.say(move(2))
            client.socket.close(code)
            await self.assert_ended(client, "closed", 2)

    async def test_lost(self) -> None:
        client = await self.client()
        client.socket.abort()
        await self.assert_ended(client, "lost")

    async def test_all_in_one_breath(self) -> None:
        """A page that is opened and closed: nothing was waited for, and everything counts."""
        self.began = int(time.time() * 1000)
        client = await self.enter(await self.ticket())
        client.say(START)
        client.say([move(1), move(2)])
        client.socket.close()
        await client.socket.closed
        await self.until(self.sessions)
        client.session = self.sessions()[0].id
        await self.assert_ended(client, "closed", 2)

    async def test_bad_requests(self) -> None:
        client = await self.client()
        for _ in range(5):
            client.say(b"?")
        await client.socket.closed
        await self.assert_ended(client, "badRequests")

    async def test_frames_that_break_the_rules(self) -> None:
        client = await self.client()
        client.socket.send_raw(b"\xf1\x80\0\0\0\0")
        await self.assert_ended(client, "badRequests")

    async def test_the_server_stops(self) -> None:
        client = await self.client()
        idle = await self.enter(await self.ticket())
        stopped = self.stop()
        self.assertEqual(await client.hear(), {"type": "shutdown"})
        self.assertEqual(await client.ask(move(2)), {"type": "ack", "stored": 2})
        self.assertEqual((await client.end()).code, 1001)
        self.assertEqual(await idle.hear(), {"type": "shutdown"})
        self.assertEqual((await idle.end()).code, 1001)
        await stopped
        await self.assert_ended(client, "serverShutdown", 2)
        self.assertEqual(len(self.sessions()), 1)

    async def test_closed_while_the_server_stops(self) -> None:
        client = await self.client()
        stopped = self.stop()
        self.assertEqual(await client.hear(), {"type": "shutdown"})
        client.say({"type": "close"})
        self.assertEqual((await client.end()).code, 1000)
        await stopped
        await self.assert_ended(client, "closed")


class CrashTests(TestCase):
    timeout = 120

    async def test_killed(self) -> None:
        """The end is the last activity, found at the next start."""
        with TemporaryDirectory() as folder:
            data_dir = Path(folder)
            server = await deferToThread(ServerProcess, data_dir, "--demo")
            self.addCleanup(server.kill)
            token = logui_json(data_dir, "flight", "token", "Demo")["token"]
            answer = await deferToThread(_init, server.port, token)
            socket = await connect(
                reactor,
                f"ws://127.0.0.1:{server.port}/kraken/socket?ticket={answer['ticket']}",
                origin="http://localhost",
            )
            client = Client(socket)
            client.say(START)
            await client.ask(move(1))
            await client.ask([move(2), move(3)])
            server.process.send_signal(signal.SIGKILL)
            await socket.closed
            await deferToThread(server.process.wait)
            again = await deferToThread(ServerProcess, data_dir)
            self.addCleanup(again.kill)
            [session] = logui_json(data_dir, "session", "list")
            self.assertEqual((session["endReason"], session["events"]), ("lost", 3))
            self.assertGreaterEqual(session["duration"], 0)
            await deferToThread(again.kill)


def _init(port: int, token: str) -> Any:
    from urllib.request import Request, urlopen

    body = json.dumps({"token": token}).encode()
    request = Request(f"http://127.0.0.1:{port}/kraken/init", body, {"Origin": "http://localhost"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)
