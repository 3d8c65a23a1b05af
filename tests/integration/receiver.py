"""A receiver of what ``http:`` posts, as a real one would be; it fails when and how a test wants it to.

Who wants to know how one is written: :meth:`Receiver.take` is all of it.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import deque
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

WHOLE = "whole"
"""It does what it should."""

BEFORE = ("500", "503", "429", "408", "closed")
"""Nothing is kept."""

AFTER = ("kept, 500", "kept, closed", "kept, mid-body", "kept, late")
"""All is kept, but nobody is told."""

LATE = 0.03
"""Seconds."""


class Receiver(Resource):
    """What it keeps outlasts :meth:`stop`. ``plan`` says how it treats the next requests, ``chance`` the
    others; ``refused`` are the ids of records that it never takes.
    """

    isLeaf = True

    def __init__(self, chance: random.Random | None = None, *, secure: Any = None) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []
        self.texts: list[bytes] = []
        self.sessions: dict[str, Any] = {}
        self.bodies: dict[str, bytes] = {}
        self.requests: list[tuple[Request, bytes]] = []
        self.plan: deque[str] = deque()
        self.headers: dict[str, str] = {}
        self.refused: set[str] = set()
        self.port = 0
        self._chance = chance
        self._secure = secure
        # It knows the connections that are open.
        self._site = WrappingFactory(Site(self))

    @property
    def uri(self) -> str:
        return f"{'https' if self._secure else 'http'}://localhost:{self.port}"

    def start(self) -> None:
        if self._secure:
            self._listening = reactor.listenSSL(self.port, self._site, self._secure, interface="127.0.0.1")
        else:
            self._listening = reactor.listenTCP(self.port, self._site, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def stop(self) -> None:
        """At once: whoever is waiting for an answer gets none."""
        listening: Deferred[None] | None = self._listening.stopListening()
        for each in list(self._site.protocols):
            each.transport.abortConnection()
        if listening is not None:
            await listening

    def render_POST(self, request: Request) -> Any:
        assert request.content is not None
        body = request.content.read()
        self.requests.append((request, body))
        how = self.plan.popleft() if self.plan else self._any()
        for name, value in self.headers.items():
            request.setHeader(name, value)
        if how in AFTER or how == WHOLE:
            status = self.take(request, body)
            if status >= 400 or how == WHOLE:
                request.setResponseCode(status)
                return b"thank you"
            how = how.removeprefix("kept, ")
        if how == "closed":
            request.transport.abortConnection()
        elif how == "mid-body":
            request.setHeader("Content-Length", "1000")
            request.write(b"thank")
            reactor.callLater(0, request.transport.loseConnection)
        elif how == "late":
            reactor.callLater(LATE, self._answer, request)
        elif how == "endless":
            request.write(b"x" * 200_000)
        elif how != "silent":
            request.setResponseCode(int(how))
            return b"<script>alert(document.cookie)</script>\x1b[2J"
        return NOT_DONE_YET

    def take(self, request: Request, body: bytes) -> int:
        """The status: 204 where all is kept by now, whether or not it was before."""
        key = (request.getHeader("Idempotency-Key") or "").strip()
        if key in self.bodies:
            assert self.bodies[key] == body, "another body with the same key"
            return 204
        text = gzip.decompress(body) if request.getHeader("Content-Encoding") == "gzip" else body
        array = request.getHeader("Content-Type") == "application/json"
        objects = json.loads(text) if array else [json.loads(line) for line in text.splitlines()]
        if request.getHeader("Logui-Content") == "sessions":
            self.sessions.update({one["id"]: one for one in objects})
        elif any(one["recordID"] in self.refused for one in objects):
            return 422
        else:
            self.records += objects
            self.texts += [text] if array else text.splitlines()
        self.bodies[key] = body
        return 204

    def _any(self) -> str:
        if self._chance is None or self._chance.random() < 0.9:
            return WHOLE
        return self._chance.choice(BEFORE + AFTER)

    def _answer(self, request: Request) -> None:
        if not request._disconnected:
            request.finish()
