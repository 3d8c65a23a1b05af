"""``/healthz`` and ``/readyz``: how each part of the server is, as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

CHECK_TIMEOUT = 2.0
"""Seconds after which a part that does not answer is failing."""


class State(Enum):
    """``degraded`` works, but not as configured; ``failing`` does not do its work."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


@frozen
class Health:
    """How a part is. ``detail`` is read by operators and by anybody else: no paths, no secrets."""

    state: State = State.OK
    detail: str = ""


Check = Callable[[], Awaitable[Health]]


class HealthPage(Resource):
    """``parts`` by name; the worst decides: 200 while none is failing, else 503."""

    isLeaf = True

    def __init__(self, clock: IReactorTime, parts: Mapping[str, Check]) -> None:
        Resource.__init__(self)
        self._clock = clock
        self._parts = parts

    def render_GET(self, request: Request) -> int:
        finished = request.notifyFinish()
        answering = ensureDeferred(self._answer(request))
        # A client that does not wait for the answer gets none.
        finished.addErrback(lambda _gone: answering.cancel())
        answering.addErrback(lambda _gone: None)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        worst, parts = State.OK, {}
        for name, check in self._parts.items():
            health = await self._check(check)
            parts[name] = {"state": health.state.value}
            if health.detail:
                parts[name]["detail"] = health.detail
            if health.state is State.FAILING or worst is State.OK:
                worst = health.state
        _send(request, {"status": worst.value, "parts": parts})

    async def _check(self, check: Check) -> Health:
        async def ask() -> Health:
            return await check()

        asked: Deferred[Health] = ensureDeferred(ask())
        asked.addTimeout(CHECK_TIMEOUT, self._clock)
        return await asked.addErrback(_failing)


def _failing(why: Failure) -> Health:
    return Health(State.FAILING, type(why.value).__name__)


def _send(request: Request, report: dict[str, Any]) -> None:
    request.setResponseCode(503 if report["status"] == State.FAILING.value else 200)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    request.write(msgspec.json.encode(report) + b"\n")
    request.finish()
