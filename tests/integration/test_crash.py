import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.replay.player import Replay
from tests.integration.process import TWISTD, ServerProcess, logui_json
from tests.integration.sessions import by_session, exported, recorded

KILLS = 20


class CrashTests(TestCase):
    """kill -9 under load: what was acknowledged is there once, nothing twice, no gap."""

    timeout = 600

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name)
        self.acknowledged = 0
        self.waiting: tuple[int, Deferred[None]] | None = None

    def progress(self, _sent: int, acknowledged: int) -> None:
        self.acknowledged = acknowledged
        if self.waiting is not None and acknowledged >= self.waiting[0]:
            (_, reached), self.waiting = self.waiting, None
            # Not within the answer's own turn: the kill is to come in the midst of whatever follows.
            reactor.callLater(0, reached.callback, None)

    def acknowledged_more(self, events: int) -> Deferred[None]:
        reached: Deferred[None] = Deferred()
        self.waiting = self.acknowledged + events, reached
        return reached

    async def serve(self, port: int = 0, program: Sequence[str] | None = None) -> ServerProcess:
        server = await deferToThread(ServerProcess, self.data_dir, "--demo", port=port, program=program)
        self.addCleanup(server.kill)
        return server

    def check(self, records) -> dict[str, list]:
        sessions = by_session(records)
        for session_id, found in sessions.items():
            self.assertEqual([r["seq"] for r in found], list(range(1, len(found) + 1)), session_id)
        return sessions

    async def test_clients_that_stay_lose_nothing_in_twenty_kills(self) -> None:
        """The clients reconnect, resume and send again what was not acknowledged."""
        chance = random.Random(20)
        server = await self.serve()
        token = logui_json(self.data_dir, "flight", "token", "Demo")["token"]
        streams = recorded(copies=3)
        replay = Replay(
            reactor,
            server.url,
            token,
            streams,
            speed=None,
            batch=2,
            window=3,
            domain="localhost",
            on_progress=self.progress,
            tries=200,
            back_off=0.02,
        )
        done = replay.run()
        for _ in range(KILLS):
            await self.acknowledged_more(chance.randrange(1, 900))
            server.kill()
            server = await self.serve(server.port)
        account = await done
        self.assertTrue(account.complete, [s.error for s in account.sessions])
        self.assertGreaterEqual(account.reconnects, KILLS)
        sessions = await deferToThread(lambda: self.check(exported(self.data_dir, "Demo")))
        came_out: dict[str, list] = {}
        for found in sessions.values():
            came_out.setdefault(found[0]["event"]["stream"], []).extend(r["event"] for r in found)
        self.assertEqual(came_out, {stream[0]["stream"]: stream for stream in streams})
        self.assertEqual(len(sessions), len(streams))

    async def test_clients_that_die_with_it_lose_nothing_acknowledged(self) -> None:
        """Nobody sends again: the journal alone must hold what was acknowledged."""
        chance = random.Random(5)
        acknowledged: dict[str, int] = {}
        server = await self.serve(program=TWISTD)
        token = logui_json(self.data_dir, "flight", "token", "Demo")["token"]
        for _ in range(5):
            replay = Replay(
                reactor,
                server.url,
                token,
                recorded(),
                speed=None,
                batch=5,
                domain="localhost",
                on_progress=self.progress,
                tries=1,
            )
            self.acknowledged = 0
            done = replay.run()
            await self.acknowledged_more(chance.randrange(1, 5000))
            server.kill()
            done.cancel()
            account = await done
            for played in account.sessions:
                for session_id in played.session_ids:
                    acknowledged[session_id] = played.events_acknowledged
            server = await self.serve(server.port, TWISTD)
        sessions = await deferToThread(lambda: self.check(exported(self.data_dir, "Demo")))
        streams = {stream[0]["stream"]: stream for stream in recorded()}
        for session_id, count in acknowledged.items():
            found = sessions.get(session_id, [])
            self.assertGreaterEqual(len(found), count)
            if found:
                stream = streams[found[0]["event"]["stream"]]
                self.assertEqual([r["event"] for r in found], stream[: len(found)])
        for session in logui_json(self.data_dir, "session", "list"):
            self.assertEqual(session["endReason"] in ("lost", "leavingPage"), True, session)
            self.assertIsNotNone(session["duration"])
