"""What every sink must stand: both ends killed at random moments, with recorded sessions as input.

A sink's test says how its other end is killed and started, and what it holds::

    class RedisChaosTests(SinkChaos, TestCase):
        seed = 7
        secrets = ("hunter2",)

        def sink_uri(self) -> str:
            return f"redis://:hunter2@127.0.0.1:{self.redis.port}/0?stream=logui"

        async def kill_other_end(self) -> None:
            await deferToThread(self.redis.stop)

        async def start_other_end(self) -> None:
            await deferToThread(self.redis.start)

        async def held(self) -> list[dict[str, Any]]:
            return [json.loads(one) for one in await deferToThread(self.read)]

That is all: :meth:`SinkChaos.test_killed_at_random_moments` is inherited. The other end is made in ``setUp``
(call super's) and is up when the test begins. A ``twistd logui`` of its own delivers to it while clients play
the recorded sessions as fast as they can, resume, and send again what was not acknowledged. In each of
``rounds`` rounds, after a random number of acknowledged events, the server, the other end or both are killed,
and come back after a random number more. In the end the sink catches up (its cursor reaches the journal's
end), the server stops, and what the other end holds must be what ``logui export`` gives: each record once,
the same event, in order within each session.

A sink without a process at its other end sets ``has_other_end = False``. One that keeps sessions overrides
``held_sessions``. What stands in ``secrets`` must not be in the server's log, nor in the table of sinks.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from logui_tx.journal import cursors
from logui_tx.journal.schema import open_reader
from logui_tx.replay import player
from logui_tx.replay.player import Account, Replay
from tests.integration.process import ServerProcess, logui_json
from tests.integration.sessions import by_session, exported, recorded

if TYPE_CHECKING:
    from unittest import TestCase
else:
    TestCase = object

NAME = "chaos"
POLL = 0.05
"""Seconds between two looks at a cursor; the test's timeout bounds the waiting."""
LONGEST_MOMENT = 0.03
"""Seconds from an acknowledgement to a kill, at most: so that it meets a batch anywhere."""


class SinkChaos(TestCase):
    """To stand before trial's ``TestCase`` in the bases; see the module."""

    timeout = 300
    rounds = 20
    seed = 1
    most_events = 250
    """Acknowledged between two blows, at most."""
    longest_outage = 0.5
    """Seconds, about: long enough to be noticed, sometimes."""
    has_other_end = True
    secrets: tuple[str, ...] = ()
    common = f"name={NAME}&start=beginning&batch=40&batch-age=0&retry-max=50ms"
    """What the URI gets besides: small batches, one after the other."""

    # --- what the sink's author says

    def sink_uri(self) -> str:
        """Without the parameters that all sinks have."""
        raise NotImplementedError

    async def kill_other_end(self) -> None:
        """At once, as a crash would."""
        raise NotImplementedError

    async def start_other_end(self) -> None:
        """With all that it had; fires when it can be reached, or soon before."""
        raise NotImplementedError

    async def held(self) -> list[dict[str, Any]]:
        """All records there, in their order: ``recordID``, ``sessionID``, ``seq``, and ``event``, read."""
        raise NotImplementedError

    async def held_sessions(self) -> dict[str, str | None] | None:
        """The end reason of each session there, by id; None where the sink keeps none."""
        return None

    # --- the test

    def setUp(self) -> None:
        super().setUp()
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name) / "data"
        self.chance = random.Random(self.seed)
        # The clients are not to wait for longer than a server needs to start.
        self.patch(player, "LONGEST_BACK_OFF", 0.1)
        self.log: list[str] = []
        self.kills = Counter[str]()
        self.acknowledged = 0
        self._waiting: tuple[int, Deferred[None]] | None = None
        self._enough = False
        self._lost: Failure | None = None

    async def test_killed_at_random_moments(self) -> None:
        await self.serve()
        token = (await deferToThread(logui_json, self.data_dir, "flight", "token", "Demo"))["token"]
        playing = Deferred.fromCoroutine(self.play(token)).addErrback(self.lost_clients)
        for _ in range(self.rounds):
            await self.round()
        self._enough = True
        acknowledged = await playing
        await self.until_delivered()
        await self.compare(acknowledged)

    async def round(self) -> None:
        """One blow."""
        ends = ["server", "other end", "both"] if self.has_other_end else ["server"]
        end = self.chance.choice(ends)
        self.kills[end] += 1
        await self.moment()
        if end != "server":
            await self.kill_other_end()
        if end == "both":
            # The server sees for a moment that nobody is there; or does not even come to see it.
            await self.sleep(self.chance.choice([0.0, LONGEST_MOMENT]))
        if end != "other end":
            self.server.kill()
            self.log += self.server.log
            await self.serve(self.server.port)
        if end != "server":
            await self.moment()
            await self.sleep(self.chance.uniform(0, self.longest_outage))
            await self.start_other_end()

    async def until_delivered(self) -> None:
        """Everything is, also the ends of sessions when the server stops."""
        while True:
            while not await deferToThread(self.delivered):
                await self.sleep(POLL)
            self.assertEqual(await deferToThread(self.server.stop), 0, self.server.log[-20:])
            self.log += self.server.log
            if await deferToThread(self.delivered):
                return
            await self.serve()

    async def compare(self, acknowledged: int) -> None:
        """What was acknowledged, what the journal has and what the other end holds."""
        held = await self.held()
        expected = {
            one["recordID"]: one for one in await deferToThread(list, exported(self.data_dir, "Demo"))
        }
        self.assertEqual(len(expected), acknowledged)
        counted = Counter(one["recordID"] for one in held)
        self.assertEqual({one: n for one, n in counted.items() if n > 1}, {}, "there more than once")
        self.assertEqual(set(expected) - set(counted), set(), "lost")
        self.assertEqual(set(counted) - set(expected), set(), "never stored")
        for one in held:
            stored = expected[one["recordID"]]
            self.assertEqual(
                (one["sessionID"], one["seq"], one["event"]),
                (stored["sessionID"], stored["seq"], stored["event"]),
            )
        for session_id, records in by_session(iter(held)).items():
            numbers = [one["seq"] for one in records]
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)), session_id)
        sessions = await self.held_sessions()
        if sessions is not None:
            listed = await deferToThread(logui_json, self.data_dir, "session", "list")
            self.assertEqual(sessions, {one["id"]: one["endReason"] for one in listed})
        self.assertNotIn("Traceback", "".join(self.log))
        for secret in self.secrets:
            self.assertNotIn(secret, "".join(self.log))

    # --- the parts

    async def serve(self, port: int = 0) -> None:
        uri = self.sink_uri()
        uri += ("&" if "?" in uri else "?") + self.common
        self.server = await deferToThread(ServerProcess, self.data_dir, "--demo", "--sink", uri, port=port)
        self.addCleanup(self.server.kill)

    async def play(self, token: str) -> int:
        """Sessions after sessions until it is enough; how many events were acknowledged."""
        acknowledged = 0
        while not self._enough:
            account: Account = await self.replay(token).run()
            self.assertTrue(account.complete, [one.error for one in account.sessions])
            acknowledged += account.acknowledged
        return acknowledged

    def lost_clients(self, why: Failure) -> Failure:
        """Nobody will acknowledge anything more: who waits for it must not wait for the test's timeout."""
        self._lost = why
        if self._waiting is not None:
            (_, reached), self._waiting = self._waiting, None
            reached.errback(why)
        return why

    def replay(self, token: str) -> Replay:
        before = self.acknowledged

        def progress(_sent: int, acknowledged: int) -> None:
            self.acknowledged = before + acknowledged
            if self._waiting is not None and self.acknowledged >= self._waiting[0]:
                (_, reached), self._waiting = self._waiting, None
                reactor.callLater(0, reached.callback, None)

        replay = Replay(
            reactor,
            self.server.url,
            token,
            recorded(),
            speed=None,
            batch=2,
            window=3,
            domain="localhost",
            on_progress=progress,
            tries=1000,
            back_off=0.02,
        )
        # It may begin while the server is down, and must not take that for a wrong address.
        replay.reached = True
        return replay

    async def moment(self) -> None:
        """Some acknowledged events later, in the midst of whatever follows."""
        if self._lost is not None:
            self._lost.raiseException()
        reached: Deferred[None] = Deferred()
        self._waiting = self.acknowledged + self.chance.randrange(1, self.most_events), reached
        await reached
        await self.sleep(self.chance.uniform(0, LONGEST_MOMENT))

    async def sleep(self, seconds: float) -> None:
        await deferLater(reactor, seconds)

    def delivered(self) -> bool:
        """Whether the cursor is at the journal's end; nothing may be among the dead letters."""
        with closing(open_reader(self.data_dir)) as connection:
            cursor = cursors.cursor(connection, NAME)
            if cursor is None:
                return False
            for secret in self.secrets:
                self.assertNotIn(secret, json.dumps([cursor.trouble, cursor.state.decode("latin-1")]))
            self.assertEqual(cursors.dead_letters(connection, NAME), [])
            return cursor.position >= cursors.end(connection)
