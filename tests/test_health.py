"""The health page: the worst part decides, a part that fails or hangs is named, nothing leaks."""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from twisted.web.test.requesthelper import DummyRequest

from logui_tx.web.health import CHECK_TIMEOUT, Health, HealthPage, State

OK, DEGRADED, FAILING = State.OK, State.DEGRADED, State.FAILING


class HealthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def ask(self, **parts: Callable[[], Any]) -> DummyRequest:
        request = DummyRequest([b"healthz"])
        self.assertEqual(HealthPage(self.clock, parts).render(request), NOT_DONE_YET)
        return request

    def report(self, request: DummyRequest) -> dict[str, Any]:
        self.assertEqual(request.finished, 1)
        self.assertEqual(request.responseHeaders.getRawHeaders(b"content-type"), [b"application/json"])
        self.assertEqual(request.responseHeaders.getRawHeaders(b"cache-control"), [b"no-store"])
        return json.loads(b"".join(request.written))

    def part(self, state: State, detail: str = "") -> Callable[[], Deferred[Health]]:
        return lambda: succeed(Health(state, detail))

    def test_all_is_well(self) -> None:
        async def coroutine() -> Health:
            return Health(detail="memory")

        request = self.ask(journal=self.part(OK), store=coroutine)
        self.assertEqual(
            self.report(request),
            {
                "status": "ok",
                "parts": {"journal": {"state": "ok"}, "store": {"state": "ok", "detail": "memory"}},
            },
        )
        self.assertEqual(request.responseCode, 200)

    def test_the_worst_decides(self) -> None:
        for states, status, code in [
            ([], "ok", 200),
            ([OK, DEGRADED], "degraded", 200),
            ([DEGRADED, OK], "degraded", 200),
            ([DEGRADED, FAILING], "failing", 503),
            ([FAILING, DEGRADED], "failing", 503),
            ([FAILING, OK], "failing", 503),
            ([OK, FAILING, OK, DEGRADED], "failing", 503),
        ]:
            request = self.ask(**{f"part{n}": self.part(state) for n, state in enumerate(states)})
            report = self.report(request)
            self.assertEqual((report["status"], request.responseCode), (status, code))
            self.assertEqual([part["state"] for part in report["parts"].values()], [s.value for s in states])

    def test_a_part_that_fails_is_named_without_its_text(self) -> None:
        def raises() -> Deferred[Health]:
            raise OSError("/secret/path")

        async def later() -> Health:
            raise ValueError("password")

        for check, name in [
            (raises, "OSError"),
            (later, "ValueError"),
            (lambda: fail(KeyError("token")), "KeyError"),
        ]:
            request = self.ask(bad=check, good=self.part(OK))
            self.assertEqual(
                self.report(request),
                {
                    "status": "failing",
                    "parts": {"bad": {"state": "failing", "detail": name}, "good": {"state": "ok"}},
                },
            )
            self.assertEqual(request.responseCode, 503)

    def test_a_part_that_answers_later(self) -> None:
        waiting: Deferred[Health] = Deferred()
        request = self.ask(slow=lambda: waiting)
        self.assertEqual((request.finished, request.written), (0, []))
        self.clock.advance(CHECK_TIMEOUT - 0.01)
        self.assertEqual(request.finished, 0)
        waiting.callback(Health())
        self.assertEqual(self.report(request)["status"], "ok")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_part_that_hangs_is_failing(self) -> None:
        request = self.ask(hangs=Deferred, good=self.part(OK))
        self.clock.advance(CHECK_TIMEOUT)
        self.assertEqual(
            self.report(request)["parts"],
            {"hangs": {"state": "failing", "detail": "TimeoutError"}, "good": {"state": "ok"}},
        )

    def test_a_client_that_does_not_wait(self) -> None:
        waiting: Deferred[Health] = Deferred()
        cancelled: list[object] = []
        waiting._canceller = cancelled.append
        request = self.ask(slow=lambda: waiting)
        request.processingFailed(Failure(ConnectionDone()))
        self.assertEqual(cancelled, [waiting])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])
