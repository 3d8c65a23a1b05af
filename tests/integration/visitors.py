"""Visitors of DataKraken: they ask for tickets over HTTP, and speak over a socket."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

from attrs import evolve, frozen
from twisted.internet.threads import deferToThread

from logui_tx.model import Limits
from logui_tx.web.client import UpgradeRefused
from tests.integration.served import Client, ServedTestCase

ORIGIN = "http://localhost:3000"
T = 1_795_306_226_888


@frozen
class Answer:
    """Of an HTTP request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        """The visitor's cookie, as a browser sends it back; empty where none was set."""
        return (self.headers["Set-Cookie"] or "").partition(";")[0]


def move(n: int, **more: Any) -> dict[str, Any]:
    return {"type": 1, "timestamp": T + n, "event": {"X": n, "Y": 1.5, "ellapsed": 3}, **more}


START = {"type": "start", "meta": {"device": {"os": "Macintosh", "browser": "Chrome"}, "referrer": "r"}}


class VisitedTestCase(ServedTestCase):
    """``self.flight`` accepts localhost."""

    async def http(
        self, method: str = "POST", body: Any = None, path: str = "/kraken/init", **headers: str | None
    ) -> Answer:
        """``headers`` are named with underscores; None leaves one out."""
        named = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}

        def ask() -> Answer:
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
                connection.request(method, path, body, {"Connection": "close", **named})
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read())

        return await deferToThread(ask)

    async def init(self, token: str | None = None, **headers: str | None) -> Answer:
        body = json.dumps({"token": token or self.token}).encode()
        return await self.http("POST", body, **{"Origin": ORIGIN, **headers})

    async def ticket(self, **headers: str | None) -> str:
        answer = await self.init(**headers)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json["ticket"]

    async def enter(self, ticket: str, origin: str | None = ORIGIN, **headers: str) -> Client:
        return await self.connect(f"/kraken/socket?ticket={ticket}", origin=origin, headers=headers)

    async def refused(self, ticket: str, **more: Any) -> int:
        """The HTTP status of the refused upgrade."""
        try:
            await self.enter(ticket, **more)
        except UpgradeRefused as refused:
            return refused.status
        raise AssertionError("the socket was opened")

    async def visit(self, start: Any = START) -> Client:
        """A visitor whose session has begun."""
        before = {session.id for session in self.sessions()}
        client = await self.enter(await self.ticket())
        client.say(start)
        new = await self.until(lambda: {session.id for session in self.sessions()} - before)
        client.session = new.pop()
        return client

    def limited(self, **limits: Any) -> Limits:
        return evolve(self.limits, **limits)

    async def restart(self, **limits: Any) -> None:
        await self.stop()
        self.start(limits=self.limited(**limits))
