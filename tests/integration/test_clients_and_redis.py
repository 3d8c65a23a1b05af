"""Both browser clients on a server whose store is Redis, while Redis is restarted; and a renderer killed."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.request import urlopen

from playwright.sync_api import Error

from tests.integration.redis import ANSWERS, RedisServer
from tests.integration.test_kraken_client import KrakenClientTestCase
from tests.integration.test_logui_client import LogUITestCase

ROUNDS = 3


class RedisMixin:
    """Of a ClientTestCase: its server shares by a Redis of its own."""

    def setUp(self: Any) -> None:
        self.redis = RedisServer()
        self.addCleanup(self.redis.close)
        self.server_options = (f"--session-store={self.redis.uri}?timeout={ANSWERS:g}s",)
        super().setUp()  # type: ignore[misc]

    def wait_for_store(self: Any, state: str) -> None:
        """Until the health page says so."""
        found = None
        while found != state:
            # The page lives on meanwhile, and the processor is left to those who are waited for.
            self.page.wait_for_timeout(10)
            with urlopen(f"http://127.0.0.1:{self.server.port}/healthz") as answer:
                found = json.load(answer)["parts"]["store"]["state"]

    def disturb(self: Any) -> None:
        """Log before, while and after Redis is away."""
        for _ in range(ROUNDS):
            self.log(10)
            self.redis.stop()
            self.wait_for_store("degraded")
            self.log(10)
            self.redis.start()
            self.wait_for_store("ok")
            self.log(10)
        self.settle()


class LogUITests(RedisMixin, LogUITestCase):
    def test_redis_restarted(self) -> None:
        self.disturb()
        self.assertEqual(len(self.done), 30 * ROUNDS)
        self.expect_stored()

    def test_reloaded_and_cut_while_redis_is_away(self) -> None:
        self.log(10)
        self.redis.stop()
        self.wait_for_store("degraded")
        self.log(10)
        self.page.reload()
        self.wait_for("window.logui?.state === 'listening'")
        self.log(10)
        self.network.cut(up=True)
        self.log(10)
        self.wait_for("logui.state === 'listening' && logui.waiting === 0")
        self.redis.start()
        self.wait_for_store("ok")
        self.log(10)
        self.settle()
        self.stop()
        self.assertEqual([event["eventDetails"] for _, event, _ in self.stored()], self.done)
        self.assertEqual(len(self.sessions()), 1)


class KrakenTests(RedisMixin, KrakenClientTestCase):
    def test_redis_restarted(self) -> None:
        self.disturb()
        self.stop()
        self.assertEqual(self.custom(), self.done)
        self.assertEqual(len(self.sessions("kraken")), 1)

    def test_the_renderer_killed(self) -> None:
        self.log(20)
        self.settle()
        with contextlib.suppress(Error):
            self.page.goto("chrome://crash")
        self.stop()
        self.assertEqual(self.custom(), self.done)
        (session,) = self.sessions("kraken")
        self.assertIsNotNone(session.ended_at)
