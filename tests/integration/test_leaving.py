"""PROTOCOL, section 1, *Leaving*; and *Names*: how a session ends, and what the session table says then."""

from __future__ import annotations

import json

from logui_tx.model import Session
from tests.integration.served import ServedTestCase, payload
from tests.integration.test_hostile_input import frame


class EndingTestCase(ServedTestCase):
    def assert_ended(self, session: Session, reason: str, events: int) -> None:
        self.assertEqual((session.end_reason, session.events), (reason, events))
        self.assertIsNotNone(session.ended_at)
        self.assertTrue(session.started_at <= session.ended_at <= self.service._parts.intake.now())
        self.assertEqual(session.duration, (session.ended_at - session.started_at) / 1000)


class LeavingTests(EndingTestCase):
    async def test_both_words_store_and_close_1000_without_a_response(self) -> None:
        for word in ("leavingPage", "shutdownClient"):
            for events in ([], [1, 2]):
                client = await self.greet()
                client.say(payload(*events, session=word))
                end = await client.end()
                self.assertEqual((end.code, end.clean), (1000, True))
                self.assert_ended(await self.ended(client.session), word, len(events))
                self.assertEqual([e["n"] for _, e, _ in self.stored(client.session)], events)

    async def test_what_was_sent_before_is_acknowledged_before_the_close(self) -> None:
        client = await self.greet()
        for n in range(20):
            client.say(payload(n, payloadID=n + 1))
        client.say(payload(20, session="leavingPage", payloadID=21))
        self.assertEqual([(await client.hear())["payloadID"] for _ in range(20)], list(range(1, 21)))
        self.assertEqual((await client.end()).code, 1000)
        self.assert_ended(await self.ended(client.session), "leavingPage", 21)

    async def test_a_repeated_farewell_is_not_stored_again(self) -> None:
        client = await self.greet(clientInstance="i")
        await client.events(1, payloadID=1)
        client.say(payload(1, payloadID=1, session="leavingPage"))
        self.assertEqual((await client.end()).code, 1000)
        self.assert_ended(await self.ended(client.session), "leavingPage", 1)

    async def test_what_follows_a_farewell_is_not_heard(self) -> None:
        client = await self.greet()
        client.say(payload(1, session="leavingPage"))
        client.say(payload(2))
        client.say(b"x")
        self.assertEqual((await client.end()).code, 1000)
        self.assert_ended(await self.ended(client.session), "leavingPage", 1)

    async def test_other_values_of_session_are_401(self) -> None:
        for value in ("leavingpage", "", "closed", None, 1, True, ["leavingPage"], {}):
            client = await self.greet()
            answer = await client.events(1, session=value)
            self.assertEqual(answer["statusCode"], "401", value)
            self.assertEqual(
                answer["errorDetails"],
                {"errorString": "'session' must be 'leavingPage' or 'shutdownClient'.", "terminate": False},
            )
            self.assertEqual(self.stored(client.session), [])

    async def test_a_farewell_with_a_bad_event_is_403_and_no_farewell(self) -> None:
        client = await self.greet()
        self.assertEqual((await client.events(1, None, session="leavingPage"))["statusCode"], "403")
        self.assertEqual((await client.events(2))["statusCode"], "201")
        self.assertIsNone(self.session(client.session).ended_at)

    async def test_the_last_word_counts_over_how_the_socket_ends(self) -> None:
        client = await self.greet()
        client.say(payload(1, session="shutdownClient"))
        client.socket.close()
        await client.socket.closed
        self.assert_ended(await self.ended(client.session), "shutdownClient", 1)


class ClosingTests(EndingTestCase):
    async def test_a_close_frame_is_closed(self) -> None:
        for code in (1000, 1001, 3000, 4999):
            client = await self.greet()
            await client.events(1)
            client.socket.close(code)
            await client.end()
            self.assert_ended(await self.ended(client.session), "closed", 1)

    async def test_a_close_frame_without_a_code_is_closed(self) -> None:
        client = await self.greet()
        client.socket.send_raw(frame(b"", opcode=8))
        await client.end()
        self.assert_ended(await self.ended(client.session), "closed", 0)

    async def test_an_aborted_connection_is_lost(self) -> None:
        client = await self.greet()
        await client.events(1, 2)
        client.socket.abort()
        self.assert_ended(await self.ended(client.session), "lost", 2)

    async def test_tcp_closed_without_a_close_frame_is_lost(self) -> None:
        client = await self.greet()
        client.socket._protocol.transport.loseConnection()
        self.assert_ended(await self.ended(client.session), "lost", 0)

    async def test_events_of_the_same_breath_as_the_close_are_stored(self) -> None:
        client = await self.greet()
        for n in range(10):
            client.say(payload(n))
        client.socket.close()
        await client.socket.closed
        self.assert_ended(await self.ended(client.session), "closed", 10)

    async def one_breath(self, *messages: bytes) -> Session:
        """The session of a client that says all of it, and closes, in one TCP segment."""
        client = await self.connect()
        client.socket.send_raw(b"".join((*messages, frame((1001).to_bytes(2, "big"), opcode=8))))
        await client.socket.closed
        (session,) = await self.until(self.sessions)
        return await self.ended(session.id)

    async def test_handshake_events_and_close_in_one_breath(self) -> None:
        hello = frame(json.dumps(self.hello()).encode())
        events = [frame(json.dumps(payload(n, n + 1)).encode()) for n in range(3)]
        self.assert_ended(await self.one_breath(hello, *events), "closed", 6)
        self.assertEqual([s for s, _, _ in self.stored()], [1, 2, 3, 4, 5, 6])

    async def test_handshake_farewell_and_close_in_one_breath(self) -> None:
        hello = frame(json.dumps(self.hello()).encode())
        farewell = frame(json.dumps(payload(1, session="leavingPage")).encode())
        self.assert_ended(await self.one_breath(hello, farewell), "leavingPage", 1)

    async def test_handshake_events_and_a_reset_in_one_breath(self) -> None:
        client = await self.connect()
        client.say(self.hello())
        client.say(payload(1))
        client.socket._protocol.transport.loseConnection()
        (session,) = await self.until(self.sessions)
        self.assert_ended(await self.ended(session.id), "lost", 1)

    async def test_a_session_without_events_ends_too(self) -> None:
        client = await self.greet()
        client.socket.close()
        await client.end()
        self.assert_ended(await self.ended(client.session), "closed", 0)
