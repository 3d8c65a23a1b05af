"""PROTOCOL, section 1, *Resume*: a session goes on, across sockets, restarts and crashes, for a while."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from logui_tx.model import Limits
from tests.integration.served import Client, ServedTestCase, payload


class ResumeTestCase(ServedTestCase):
    async def leave(self, client: Client) -> None:
        client.socket.close()
        await client.socket.closed
        await self.ended(client.session)

    async def resume(self, client: Client, **more: Any) -> Client:
        return await self.greet(sessionIdentifier=client.session, **more)

    def crash(self) -> None:
        """Go on as if power had failed now: with what is on disk at this moment."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(self.stop)
        self.data_dir = Path(shutil.copytree(self.data_dir, Path(folder.name) / "data"))


class ResumeTests(ResumeTestCase):
    async def test_sequence_numbers_and_data_go_on(self) -> None:
        client = await self.greet(appSpecificLogData={"a": 1, "b": 1, "c": 1})
        await client.events(1, 2)
        await self.leave(client)
        again = await self.resume(client, appSpecificLogData={"b": 2, "c": None, "d": 2})
        self.assertEqual(again.session, client.session)
        await again.events(3)
        self.assertEqual(
            [(s, e["n"], d) for s, e, d in self.stored(client.session)],
            [
                (1, 1, {"a": 1, "b": 1, "c": 1}),
                (2, 2, {"a": 1, "b": 1, "c": 1}),
                (3, 3, {"a": 1, "b": 2, "d": 2}),
            ],
        )
        self.assertEqual(len(self.sessions()), 1)

    async def test_a_resume_opens_the_session_again(self) -> None:
        client = await self.greet()
        await self.leave(client)
        self.assertIsNotNone(self.session(client.session).duration)
        again = await self.resume(client)
        session = self.session(client.session)
        self.assertEqual((session.ended_at, session.end_reason, session.duration), (None, None, None))
        again.socket.abort()
        session = await self.ended(client.session)
        self.assertEqual(session.end_reason, "lost")
        self.assertIsNotNone(session.ended_at)

    async def test_after_each_way_to_end_but_shutdown_client(self) -> None:
        for word, goes_on in (("leavingPage", True), ("shutdownClient", False)):
            for restart in (False, True):
                client = await self.greet(appSpecificLogData={"old": 1})
                client.say(payload(1, session=word))
                await client.end()
                await self.ended(client.session)
                if restart:
                    await self.stop()
                    self.start()
                again = await self.resume(client)
                self.assertEqual(again.session == client.session, goes_on, word)
                await again.events(2)
                expected = (2, {"old": 1}) if goes_on else (1, {})
                self.assertEqual([(s, d) for s, _, d in self.stored(again.session)][-1], expected)
                self.assertEqual(self.session(client.session).end_reason, None if goes_on else word)

    async def test_after_bad_requests(self) -> None:
        client = await self.greet()
        for _ in range(5):
            await client.ask(b"x")
        await client.end()
        await self.ended(client.session)
        self.assertEqual((await self.resume(client)).session, client.session)

    async def test_a_resume_may_overtake_the_end(self) -> None:
        """The page has reloaded before the server noticed that the old socket is gone."""
        for _ in range(10):
            client = await self.greet()
            client.say(payload(1))
            client.socket.abort()
            again = await self.resume(client)
            self.assertEqual(again.session, client.session)
            await again.events(2)
            self.assertEqual([s for s, _, _ in self.stored(client.session)][-1:], [self.last(client)])
            self.assertIsNone(self.session(client.session).ended_at)
            await self.leave(again)

    def last(self, client: Client) -> int:
        return self.session(client.session).last_seq

    async def test_an_unknown_session_is_a_new_one(self) -> None:
        for unknown in (str(uuid.uuid4()), "", "x", "'; DROP TABLE session; --", "\0", "ü" * 8000):
            client = await self.greet(sessionIdentifier=unknown)
            self.assertNotEqual(client.session, unknown)
            self.assertEqual(client.welcome["lastPayloadID"], 0)

    async def test_the_session_of_another_flight_is_a_new_one(self) -> None:
        client = await self.greet(appSpecificLogData={"secret": 1})
        flight = self.registry.create_flight(self.application.id, "Other", ["localhost"])
        token = self.signer.issue(flight)
        for ended in (False, True):
            other = await self.resume(client, appIdentifier=token)
            self.assertNotEqual(other.session, client.session)
            await other.events(1)
            self.assertEqual([(s, d) for s, _, d in self.stored(other.session)], [(1, {})])
            self.assertEqual(self.session(other.session).flight_id, flight.id)
            if not ended:
                await self.leave(client)

    async def test_last_payload_id_goes_on(self) -> None:
        client = await self.greet()
        await client.events(1, payloadID=7)
        await self.leave(client)
        self.assertEqual((await self.resume(client)).welcome["lastPayloadID"], 7)

    async def test_a_resumed_connection_has_its_own_clock_offset(self) -> None:
        client = await self.greet(clientDateTime=1_000_000)
        await client.events(1)
        await self.leave(client)
        again = await self.resume(client)
        await again.events(2)
        first, second = self.reader().messages([self.session(client.session)])
        self.assertLess(first.clock_offset, -1_000_000_000_000)
        self.assertLess(abs(second.clock_offset), 60_000)


class TwoSocketsTests(ResumeTestCase):
    async def test_sequence_numbers_stay_unique(self) -> None:
        one = await self.greet()
        two = await self.resume(one)
        for n in range(40):
            one.say(payload(n, n))
            two.say(payload(1000 + n))
        for _ in range(40):
            self.assertEqual((await one.hear())["statusCode"], "201")
            self.assertEqual((await two.hear())["statusCode"], "201")
        stored = self.stored(one.session)
        self.assertEqual([s for s, _, _ in stored], list(range(1, 121)))
        self.assertEqual([e["n"] for _, e, _ in stored if e["n"] >= 1000], list(range(1000, 1040)))

    async def test_the_session_ends_with_the_last_socket(self) -> None:
        one = await self.greet()
        two = await self.resume(one)
        one.say(payload(1, session="leavingPage"))
        self.assertEqual((await one.end()).code, 1000)
        await two.events(2)
        self.assertIsNone(self.session(one.session).ended_at)
        two.socket.abort()
        session = await self.ended(one.session)
        self.assertEqual((session.end_reason, session.events), ("lost", 2))

    async def test_two_at_once_after_a_restart_share_the_session(self) -> None:
        client = await self.greet()
        await client.events(1, 2, 3)
        await self.leave(client)
        await self.stop()
        self.start()
        sockets = [await self.connect() for _ in range(5)]
        for socket in sockets:
            socket.say(self.hello(sessionIdentifier=client.session))
            socket.say(payload(4))
        for socket in sockets:
            self.assertEqual((await socket.hear())["sessionIdentifier"], client.session)
            self.assertEqual((await socket.hear())["statusCode"], "201")
        self.assertEqual([s for s, _, _ in self.stored(client.session)], list(range(1, 9)))
        self.assertEqual(len(self.sessions()), 1)


class RestartTests(ResumeTestCase):
    async def test_after_a_restart(self) -> None:
        client = await self.greet(appSpecificLogData={"a": 1})
        await client.events(1, 2, payloadID=3)
        await self.stop()
        self.assertEqual(self.session(client.session).end_reason, "serverShutdown")
        self.start()
        again = await self.resume(client, appSpecificLogData={"b": 2})
        self.assertEqual((again.session, again.welcome["lastPayloadID"]), (client.session, 3))
        await again.events(3)
        self.assertEqual(
            [(s, e["n"], d) for s, e, d in self.stored(client.session)][2:], [(3, 3, {"a": 1, "b": 2})]
        )
        self.assertIsNone(self.session(client.session).ended_at)

    async def test_after_a_crash(self) -> None:
        client = await self.greet(appSpecificLogData={"a": 1})
        await client.events(1, 2, payloadID=3)
        self.crash()
        await self.stop()
        self.start()
        session = self.session(client.session)
        self.assertEqual((session.end_reason, session.ended_at), ("lost", session.last_activity))
        again = await self.resume(client)
        self.assertEqual((again.session, again.welcome["lastPayloadID"]), (client.session, 3))
        self.assertIsNone(self.session(client.session).ended_at)
        await again.events(3, payloadID=3)
        await again.events(4, payloadID=4)
        stored = [(s, e["n"], d) for s, e, d in self.stored(client.session)]
        self.assertEqual(stored, [(1, 1, {"a": 1}), (2, 2, {"a": 1}), (3, 4, {"a": 1})])

    async def test_many_restarts(self) -> None:
        client = await self.greet()
        for n in range(4):
            client = await self.resume(client)
            await client.events(n)
            if n % 2:
                self.crash()
            await self.stop()
            self.start()
        self.assertEqual([(s, e["n"]) for s, e, _ in self.stored()], [(1, 0), (2, 1), (3, 2), (4, 3)])
        self.assertEqual(len(self.sessions()), 1)


class WindowTests(ResumeTestCase):
    """The window counts from the last activity, and only while no socket is open."""

    async def later(self, seconds: float) -> None:
        """The server's clock as the intake reads it jumps."""
        intake = self.service._parts.intake
        now = intake.now
        intake.now = lambda: now() + int(seconds * 1000)

    async def test_in_the_window(self) -> None:
        client = await self.greet()
        await self.leave(client)
        await self.later(1799)
        self.assertEqual((await self.resume(client)).session, client.session)

    async def test_after_the_window(self) -> None:
        client = await self.greet(appSpecificLogData={"old": 1})
        await client.events(1, payloadID=1)
        await self.leave(client)
        await self.later(1801)
        again = await self.resume(client)
        self.assertNotEqual(again.session, client.session)
        self.assertEqual(again.welcome["lastPayloadID"], 0)
        await again.events(2)
        self.assertEqual([(s, d) for s, _, d in self.stored(again.session)], [(1, {})])
        self.assertEqual(self.session(client.session).end_reason, "closed")

    async def test_after_the_window_and_a_restart(self) -> None:
        client = await self.greet()
        await self.leave(client)
        await self.stop()
        self.start()
        await self.later(1799)
        self.assertEqual((await self.resume(client)).session, client.session)
        await self.stop()
        self.start()
        await self.later(1799 + 1801)
        self.assertNotEqual((await self.resume(client)).session, client.session)

    async def test_an_open_session_is_never_too_old(self) -> None:
        client = await self.greet()
        await self.later(100_000)
        self.assertEqual((await self.resume(client)).session, client.session)

    async def test_activity_begins_the_window_anew(self) -> None:
        client = await self.greet()
        await self.later(100_000)
        await client.events(1)
        await self.leave(client)
        await self.later(1700)
        self.assertEqual((await self.resume(client)).session, client.session)


class NoWindowTests(ResumeTestCase):
    limits = Limits(resume_window=0.0, drain_timeout=0.2)

    async def test_the_window_is_an_option(self) -> None:
        client = await self.greet()
        await self.leave(client)
        now = self.service._parts.intake.now()
        await self.until(lambda: self.service._parts.intake.now() > now + 1)
        self.assertNotEqual((await self.resume(client)).session, client.session)
