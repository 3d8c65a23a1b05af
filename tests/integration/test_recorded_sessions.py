from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.replay.player import Replay
from tests.integration.process import TWISTD, ServerProcess, logui_json
from tests.integration.sessions import FILES, by_session, exported, recorded


class RecordedSessionsTests(TestCase):
    """Eight real people's sessions at once, as fast as it goes, through a real server and out again."""

    timeout = 120

    async def test_every_event_comes_out_once_in_order_as_it_went_in(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        data_dir = Path(folder.name)
        server = await deferToThread(ServerProcess, data_dir, "--demo", program=TWISTD)
        self.addCleanup(server.kill)
        token = logui_json(data_dir, "flight", "token", "Demo")["token"]
        streams = recorded()
        self.assertEqual(len(streams), 8)
        account = await Replay(
            reactor, server.url, token, streams, speed=None, domain="localhost", app_data={"study": 7}
        ).run()
        self.assertTrue(account.complete, account)
        self.assertEqual(account.resent, 0)

        sessions = await deferToThread(lambda: by_session(exported(data_dir, "Demo")))
        self.assertEqual(len(sessions), len(FILES))
        known = {session["id"]: session for session in logui_json(data_dir, "session", "list")}
        came_out = {}
        for session_id, records in sessions.items():
            self.assertEqual([r["seq"] for r in records], list(range(1, len(records) + 1)))
            self.assertEqual({r["flightID"] for r in records}, {known[session_id]["flightID"]})
            self.assertEqual(
                [r["clientTime"] for r in records], [r["event"]["clientDateTime"] for r in records]
            )
            self.assertTrue(all(r["appSpecificLogData"] == {"study": 7} for r in records))
            came_out[records[0]["event"]["stream"]] = [r["event"] for r in records]
            self.assertEqual(known[session_id]["events"], len(records))
            self.assertEqual(known[session_id]["endReason"], "leavingPage")
        self.assertEqual(came_out, {stream[0]["stream"]: stream for stream in streams})
        self.assertEqual(Counter(r["recordID"] for s in sessions.values() for r in s).most_common(1)[0][1], 1)
        self._durations_are_right(account, known)
        self.assertEqual(await deferToThread(server.stop), 0)

    def _durations_are_right(self, account, known) -> None:
        """A session lies between the first word and the last one that its client knows of, on one clock."""
        from datetime import datetime

        def ms(text: str) -> int:
            return round(datetime.fromisoformat(text).timestamp() * 1000)

        for played in account.sessions:
            session = known[played.session_ids[0]]
            self.assertLessEqual(played.started, ms(session["startedAt"]))
            self.assertLessEqual(ms(session["endedAt"]), played.ended)
            length = (ms(session["endedAt"]) - ms(session["startedAt"])) / 1000
            self.assertEqual(session["duration"], length)
