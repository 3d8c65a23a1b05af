"""The replay against a scripted server: nothing lost, nothing twice, and an account that is exact."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from logui_tx.replay.player import LONGEST_WAIT, Account, Replay, SessionAccount, batches
from logui_tx.replay.session import Session
from tests import fake_server
from tests.fake_server import FakeServer, Fault

ROOT = Path(__file__).parents[1]
DATA = sorted(ROOT.glob("tests/data/*.csv"))
TOKEN = "a-token"


def stream(count: int, step: int = 1) -> list[dict]:
    """Events ``step`` ms apart, each of which is itself."""
    return [{"clientDateTime": 1_700_000_000_000 + number * step, "n": number} for number in range(count)]


class ReplayTestCase(TestCase):
    timeout = 60

    def serve(self, faults: dict[int, Fault] | None = None) -> FakeServer:
        self.server = FakeServer(reactor, faults)
        self.server.start()
        self.addCleanup(self.server.stop)
        return self.server

    def replay(self, *streams: Any, **options: Any) -> Replay:
        options = {"speed": None, "batch": 10, "back_off": 0.001, "tries": 4, **options}
        return Replay(reactor, self.server.url, TOKEN, streams, **options)

    async def account(self, faults: dict[int, Fault], count: int = 100, **options: Any) -> SessionAccount:
        """The account of one session of ``count`` events against these faults."""
        self.serve(faults)
        self.total: Account = await self.replay(stream(count), **options).run()
        return self.total.sessions[0]

    def assert_all_stored_once(self, session: SessionAccount, count: int = 100) -> None:
        self.assertIsNone(session.error)
        self.assertEqual(self.server.events(), stream(count))
        self.assertEqual((session.events_sent, session.events_acknowledged), (count, count))
        self.assertEqual(session.acknowledged_payloads, count // 10)
        self.assertTrue(self.total.complete)
        last = self.server.stored["session-1"][-1]
        self.assertEqual((last["session"], last["eventsToBeLogged"]), ("leavingPage", []))


class SmoothTests(ReplayTestCase):
    async def test_all_is_stored_in_order(self) -> None:
        session = await self.account({})
        self.assert_all_stored_once(session)
        self.assertEqual(self.server.payload_ids(), list(range(1, 12)))
        self.assertEqual((session.session_ids, session.reconnects), (("session-1",), 0))
        self.assertEqual(session.events_resent, 0)
        self.assertEqual(len(self.server.handshakes), 1)

    async def test_handshake(self) -> None:
        self.serve()
        await self.replay(stream(1), domain="example.org", origin="http://x", app_data={"a": 1}).run()
        await self.replay(stream(1), instance="mine").run()
        first, second = self.server.handshakes
        self.assertEqual(first["payloadType"], "LogUIHandshake")
        self.assertEqual(first["appIdentifier"], TOKEN)
        self.assertEqual(first["appSpecificLogData"], {"a": 1})
        self.assertEqual(first["domain"], "example.org")
        self.assertEqual(self.server.upgrades[0].headers["origin"], "http://x")
        self.assertTrue(first["clientInstance"])
        self.assertNotIn("sessionIdentifier", first)
        self.assertEqual((second["clientInstance"], second["appSpecificLogData"]), ("mine", {}))

    async def test_payload_k_holds_its_events(self) -> None:
        session = await self.account({}, count=25)
        for message in self.server.payloads[:3]:
            k = message["payloadID"]
            self.assertEqual(message["eventsToBeLogged"], stream(25)[(k - 1) * 10 : k * 10])
        self.assertEqual(session.acknowledged_payloads, 3)

    async def test_many_sessions(self) -> None:
        self.serve()
        counts = [0, 1, 10, 99]
        heard: list[tuple[int, int]] = []
        replay = self.replay(*map(stream, counts), on_progress=lambda *progress: heard.append(progress))
        account = await replay.run()
        self.assertEqual([session.events_acknowledged for session in account.sessions], counts)
        for session, count in zip(account.sessions, counts, strict=True):
            (session_id,) = session.session_ids
            self.assertEqual(self.server.events(session_id), stream(count))
            self.assertLessEqual(session.started, session.ended)
        self.assertEqual((account.sent, account.acknowledged, account.refused), (110, 110, 0))
        self.assertEqual(heard[-1], (110, 110))
        self.assertLessEqual(account.p50_ms, account.p99_ms)
        self.assertGreater(account.events_per_second, 0)

    async def test_window(self) -> None:
        """Of a server that answers nothing, no more is asked than the window has."""
        session = await self.account(
            dict.fromkeys(range(1, 9), fake_server.ignore), window=4, timeout=0.2, tries=1
        )
        self.assertEqual(self.server.payload_ids(), [1, 2, 3, 4])
        self.assertEqual((session.events_sent, session.events_acknowledged), (40, 0))

    async def test_speed(self) -> None:
        self.serve()
        account = await self.replay(stream(30, step=100), speed=50.0, batch=100).run()
        self.assertEqual(self.server.events(), stream(30, step=100))
        self.assertTrue(account.complete)

    def test_senseless_numbers(self) -> None:
        self.serve()
        for options in (
            {"batch": 0},
            {"window": 0},
            {"speed": 0.0},
            {"speed": -1},
            {"tries": 0},
            {"timeout": 0},
        ):
            self.assertRaises(ValueError, self.replay, **options)


class RetryTests(ReplayTestCase):
    async def test_500_once(self) -> None:
        session = await self.account({3: fake_server.cannot_store}, window=4)
        self.assert_all_stored_once(session)
        self.assertGreater(session.events_resent, 0)
        self.assertEqual((session.reconnects, session.events_refused), (0, 0))
        self.assertEqual(self.total.resent, session.events_resent)

    async def test_500_without_an_id(self) -> None:
        session = await self.account({3: fake_server.cannot_store_nameless}, window=1)
        self.assert_all_stored_once(session)

    async def test_500_for_the_leaving(self) -> None:
        self.assert_all_stored_once(await self.account({11: fake_server.cannot_store}))

    async def test_500_that_ends_the_connection(self) -> None:
        session = await self.account({3: fake_server.fail})
        self.assert_all_stored_once(session)
        self.assertEqual(session.reconnects, 1)

    async def test_500_for_ever_ends(self) -> None:
        session = await self.account(dict.fromkeys(range(1, 999), fake_server.cannot_store))
        self.assertIn("gave up after 4 tries: 500 The disk is full.", session.error)
        self.assertEqual((session.events_acknowledged, session.acknowledged_payloads), (0, 0))
        self.assertFalse(self.total.complete)

    async def test_lost_payload(self) -> None:
        session = await self.account({4: fake_server.drop})
        self.assert_all_stored_once(session)
        self.assertEqual((session.reconnects, session.session_ids), (1, ("session-1",)))
        self.assertEqual(self.server.handshakes[1]["sessionIdentifier"], "session-1")

    async def test_lost_acknowledgement(self) -> None:
        """What the handshake tells as stored is not sent again."""
        session = await self.account({4: fake_server.store_and_drop}, window=1)
        self.assert_all_stored_once(session)
        self.assertEqual(self.server.payload_ids(), list(range(1, 12)))
        self.assertEqual(session.events_resent, 0)

    async def test_lost_at_every_payload(self) -> None:
        faults = {n: (fake_server.drop, fake_server.store_and_drop)[n % 2] for n in range(1, 16)}
        self.assert_all_stored_once(await self.account(faults, window=3))

    async def test_lost_leaving(self) -> None:
        self.assert_all_stored_once(await self.account({11: fake_server.drop}))

    async def test_leaving_that_was_stored_is_said_again(self) -> None:
        """The reconnect has opened the session again."""
        session = await self.account({11: fake_server.store_and_drop})
        self.assert_all_stored_once(session)
        self.assertEqual(self.server.payload_ids()[-2:], [11, 12])

    async def test_leaving_that_is_answered(self) -> None:
        session = await self.account({11: fake_server.acknowledge_only})
        self.assert_all_stored_once(session)
        self.assertEqual((self.server.closes, session.reconnects), ([1000], 0))

    async def test_shutdown(self) -> None:
        for fault in (fake_server.shut_down, fake_server.shut_down_and_close):
            session = await self.account({4: fault}, window=2)
            self.assert_all_stored_once(session)
            self.assertEqual(session.reconnects, 1)

    async def test_shutdown_sends_nothing_new(self) -> None:
        await self.account({4: fake_server.shut_down}, window=1)
        self.assertEqual(self.server.closes[0], 1000)
        self.assertEqual(self.server.handshakes[1]["sessionIdentifier"], "session-1")

    async def test_shutdown_at_the_end_still_leaves(self) -> None:
        session = await self.account({10: fake_server.shut_down}, window=1)
        self.assert_all_stored_once(session)
        self.assertEqual(session.reconnects, 0)

    async def test_busy_server(self) -> None:
        self.serve()
        self.server.refuse_upgrades = 3
        self.total = await self.replay(stream(100)).run()
        self.assert_all_stored_once(self.total.sessions[0])

    async def test_session_that_is_not_resumed(self) -> None:
        def forget(conversation: Any, message: dict) -> None:
            self.server.stored["old"] = self.server.stored.pop("session-1")
            self.server.stored["other"] = []
            conversation.drop()

        session = await self.account({4: forget}, window=1)
        self.assertIsNone(session.error)
        self.assertEqual(session.session_ids, ("session-1", "session-3"))
        self.assertEqual(self.server.events("old") + self.server.events("session-3"), stream(100))

    async def test_acknowledged_twice(self) -> None:
        session = await self.account({4: fake_server.store_and_acknowledge_twice})
        self.assert_all_stored_once(session)
        self.assertEqual(self.total.acknowledged, 100)


class RefusalTests(ReplayTestCase):
    async def test_refused_payload_is_named_exactly(self) -> None:
        session = await self.account({3: fake_server.refuse})
        self.assertIsNone(session.error)
        self.assertEqual(session.refused_payloads, (3,))
        self.assertEqual((session.events_acknowledged, session.events_refused), (90, 10))
        self.assertEqual(self.server.events(), stream(100)[:20] + stream(100)[30:])
        self.assertEqual((self.total.refused, self.total.complete), (10, False))

    async def test_refusal_and_500_at_once(self) -> None:
        session = await self.account({2: fake_server.refuse, 4: fake_server.cannot_store})
        self.assertEqual((session.error, session.refused_payloads), (None, (2,)))
        self.assertEqual(self.server.events(), stream(100)[:10] + stream(100)[20:])

    async def test_connection_lost_while_a_refusal_is_unplaced(self) -> None:
        session = await self.account({3: fake_server.refuse_and_drop})
        self.assertIn("before it was clear which payload was refused", session.error)
        self.assertLessEqual(session.events_acknowledged, 20)

    async def test_refused_for_good(self) -> None:
        session = await self.account({3: fake_server.refuse_for_good})
        self.assertIn("402: Five hits.", session.error)
        self.assertEqual((session.acknowledged_payloads, session.events_acknowledged), (2, 20))
        self.assertEqual(len(self.server.handshakes), 1)

    async def test_hopeless_close(self) -> None:
        session = await self.account({3: fake_server.too_big})
        self.assertIn("1009", session.error)
        self.assertEqual((session.events_acknowledged, len(self.server.handshakes)), (20, 1))

    async def test_refused_handshake(self) -> None:
        self.serve().refuse_handshakes = True
        account = await self.replay(stream(5)).run()
        self.assertIn("400: The token does not verify.", account.sessions[0].error)
        self.assertEqual((account.sent, account.p50_ms, account.complete), (0, None, False))

    async def test_unknown_path(self) -> None:
        self.serve().refuse_upgrades = 9
        self.server.refusal_status = 404
        account = await self.replay(stream(5)).run()
        self.assertIn("404", account.sessions[0].error)
        self.assertEqual(len(self.server.upgrades), 1)


class HangTests(ReplayTestCase):
    """Whatever the server does, the account comes."""

    async def test_silence(self) -> None:
        session = await self.account(dict.fromkeys(range(5, 999), fake_server.ignore), window=2, timeout=0.1)
        self.assertIn("no sign within 0.1 s", session.error)
        self.assertEqual((session.acknowledged_payloads, session.events_acknowledged), (4, 40))
        self.assertEqual(self.server.events(), stream(100)[:40])

    async def test_silent_handshake(self) -> None:
        self.serve()
        self.patch(fake_server.Conversation, "shake_hands", lambda self, message: None)
        account = await self.replay(stream(5), timeout=0.1, tries=2).run()
        self.assertIn("no sign", account.sessions[0].error)

    async def test_nonsense(self) -> None:
        session = await self.account({2: fake_server.babble})
        self.assertIn("makes no sense", session.error)

    async def test_nobody_listens(self) -> None:
        self.serve()
        replay = self.replay(stream(5), stream(5))
        await self.server.stop()
        account = await replay.run()
        for session in account.sessions:
            self.assertIn("refused", session.error)

    async def test_killed_for_good(self) -> None:
        def die(conversation: Any, message: dict) -> None:
            conversation.store(message)
            self.server.stop()

        session = await self.account({5: die}, window=1)
        self.assertIn("gave up", session.error)
        self.assertEqual((session.acknowledged_payloads, session.events_acknowledged), (4, 40))
        self.assertEqual(session.events_sent, 50)

    async def test_server_that_lost_what_it_acknowledged(self) -> None:
        def lose(conversation: Any, message: dict) -> None:
            self.server.lie = -1
            conversation.drop()

        session = await self.account({5: lose}, window=1)
        self.assertIn("the server lost payloads: it has 3 of 4", session.error)

    async def test_broken_stream(self) -> None:
        def broken() -> Iterator[dict]:
            yield from stream(25)
            raise ValueError("some.csv:27: bad")

        self.serve()
        account = await self.replay(broken(), stream(10)).run()
        self.assertIn("some.csv:27: bad", account.sessions[0].error)
        self.assertEqual((account.sessions[1].error, account.sessions[1].events_acknowledged), (None, 10))

    async def test_broken_callback(self) -> None:
        self.serve()
        account = await self.replay(stream(10), on_progress=lambda sent, acknowledged: 1 / 0).run()
        self.assertIn("ZeroDivisionError", account.sessions[0].error)

    async def test_cancelled(self) -> None:
        reached: Deferred[None] = Deferred()
        self.serve({3: lambda conversation, message: reached.callback(None)})
        running = self.replay(stream(100), window=1).run()
        await reached
        running.cancel()
        account = await running
        session = account.sessions[0]
        self.assertEqual(
            (session.error, session.events_acknowledged, session.events_sent), ("stopped", 20, 30)
        )


class BatchesTests(SynchronousTestCase):
    steps = st.lists(st.integers(-500, 3000), max_size=50)

    def events(self, steps: list[int]) -> list[dict]:
        now, events = 0, []
        for number, step in enumerate(steps):
            now += step
            events.append({"clientDateTime": now, "n": number})
        return events

    @given(steps, st.integers(1, 7))
    def test_without_a_speed_they_are_even(self, steps: list[int], size: int) -> None:
        events = self.events(steps)
        cut = list(batches(events, size, None))
        self.assertEqual(
            [batch for _, batch in cut], [events[i : i + size] for i in range(0, len(events), size)]
        )
        self.assertTrue(all(due == 0.0 for due, _ in cut))

    @given(steps, st.integers(1, 7), st.sampled_from([0.5, 1.0, 20.0]))
    def test_no_event_goes_before_its_time_or_waits_too_long(
        self, steps: list[int], size: int, speed: float
    ) -> None:
        events = self.events(steps)
        cut = list(batches(events, size, speed))
        self.assertEqual([event for _, batch in cut for event in batch], events)
        latest = 0.0
        for due, batch in cut:
            self.assertLessEqual(len(batch), size)
            for event in batch:
                at = (event["clientDateTime"] - events[0]["clientDateTime"]) / 1000 / speed
                latest = max(latest, at)
                self.assertGreaterEqual(due, latest)
                self.assertLessEqual(due, latest + LONGEST_WAIT)


class PaceTests(SynchronousTestCase):
    def test_a_payload_is_due_when_its_time_has_come(self) -> None:
        clock = Clock()
        clock.advance(1000)
        replay = Replay(clock, "ws://x/", TOKEN, [], speed=2.0, batch=1)
        session = Session(replay, batches(stream(3, step=10_000), 1, 2.0), "an-instance")
        session.upcoming = next(session.cut)
        for number in range(3):
            self.assertEqual(session.seconds_to_next(), 5.0 if number else 0.0)
            clock.advance(5.0 if number else 0.0)
            self.assertEqual(session.seconds_to_next(), 0.0)
            session.take()
        self.assertIs(session.seconds_to_next(), None)  # the leaving waits for the answers
        session.pending.clear()
        self.assertEqual(session.seconds_to_next(), 0.0)
        self.assertTrue(session.take().leaving)
