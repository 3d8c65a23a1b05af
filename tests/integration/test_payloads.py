"""PROTOCOL, section 1, *Listening*: event payloads, what of them is stored, and what is answered."""

from __future__ import annotations

import json
import zlib
from typing import Any

from logui_tx.dialects.logui04 import LogUI04
from logui_tx.model import Limits
from logui_tx.web import websocket
from tests.integration.served import Client, ServedTestCase, event, payload

STORED = {"responseType": "LogUIEventPayloadSuccess", "statusCode": "201"}
CHANGED = {"responseType": "LogUIAppSpecificLogDataChangeSuccess", "statusCode": "201"}


def refused_at(position: int, copy: Any) -> dict[str, Any]:
    return {
        "responseType": "LogUIBadEventPayloadRequest",
        "statusCode": "403",
        "errorDetails": {
            "errorString": f"The event payload was badly formed at position [{position}].",
            "badEventData": copy,
            "terminate": False,
        },
    }


def bad_request(why: str) -> dict[str, Any]:
    return {
        "responseType": "LogUIBadRequest",
        "statusCode": "401",
        "errorDetails": {"errorString": why, "terminate": False},
    }


class StoredTests(ServedTestCase):
    async def test_events_are_stored_as_sent_and_numbered_without_gaps(self) -> None:
        client = await self.greet()
        events = [event(n, ключ="Ünï ☃ 😀", deep=[{"a": [None, True, 1.50]}]) for n in range(7)]
        for some in (events[:3], events[3:4], events[4:]):
            self.assertEqual(await client.events(*some), STORED)
        stored = self.stored(client.session)
        self.assertEqual([seq for seq, _, _ in stored], list(range(1, 8)))
        self.assertEqual([sent for _, sent, _ in stored], events)

    async def test_what_is_acknowledged_is_on_disk(self) -> None:
        """The acknowledgement leaves only after the commit: it is found by who reads at that moment."""
        client = await self.greet()
        for n in range(1, 21):
            await client.events(n)
            self.assertEqual(len(self.stored(client.session)), n)
            self.assertEqual(self.session(client.session).last_seq, n)

    async def test_an_empty_payload_is_acknowledged(self) -> None:
        client = await self.greet()
        self.assertEqual(await client.events(), STORED)
        self.assertEqual(await client.events(1), STORED)
        self.assertEqual([seq for seq, _, _ in self.stored(client.session)], [1])

    async def test_other_keys_change_nothing(self) -> None:
        client = await self.greet()
        self.assertEqual(await client.events(1, whatever={"x": []}), STORED)

    async def test_spacing_and_the_order_of_keys_do_not_matter(self) -> None:
        client = await self.greet()
        client.say(
            b' \n{ "eventsToBeLogged" :\t[ { "n" : 1.50 , "clientDateTime" : 1 } ] ,\r\n'
            b'"payloadType" : "\\u004cogUIEventPayload" } '
        )
        self.assertEqual(await client.hear(), STORED)
        (message,) = self.reader().messages(self.sessions())
        (kept,) = LogUI04().events(message.message)
        self.assertEqual(kept.raw, b'{ "n" : 1.50 , "clientDateTime" : 1 }')

    async def test_client_times_are_kept_as_given_and_normalised(self) -> None:
        times = {
            0: 0,
            -1: -1000,
            1_760_000_000: 1_760_000_000_000,
            1_760_000_000.25: 1_760_000_000_250,
            1_760_000_000_123: 1_760_000_000_123,
            99_999_999_999: 99_999_999_999_000,
            100_000_000_000: 100_000_000_000,
            8_640_000_000_000_000: 8_640_000_000_000_000,
            "1760000000": 1_760_000_000_000,
            "1.76e12": 1_760_000_000_000,
            "2026-11-22T00:10:26.888Z": 1_795_306_226_888,
            "2026-11-22 00:10:26": 1_795_306_226_000,
            "2026-11-22T02:10:26+02:00": 1_795_306_226_000,
        }
        client = await self.greet()
        self.assertEqual(await client.events(*({"clientDateTime": time} for time in times)), STORED)
        (message,) = self.reader().messages(self.sessions())
        kept = LogUI04().events(message.message)
        self.assertEqual([json.loads(each.raw)["clientDateTime"] for each in kept], list(times))
        self.assertEqual([each.client_time for each in kept], list(times.values()))

    async def test_receive_time_clock_offset_and_ids(self) -> None:
        early = self.service._parts.intake.now()
        client = await self.greet(clientDateTime=1_000)
        await client.events(1)
        late = self.service._parts.intake.now()
        (message,) = self.reader().messages(self.sessions())
        session = message.session
        self.assertTrue(early <= session.started_at <= message.received <= late)
        self.assertEqual(message.clock_offset, 1_000_000 - session.started_at)
        self.assertEqual(
            (session.id, session.flight_id, session.application_id),
            (client.session, self.flight.id, self.application.id),
        )


class RefusedTests(ServedTestCase):
    async def test_events_to_be_logged_missing_or_not_an_array(self) -> None:
        client = await self.greet()
        answer = await client.ask({"payloadType": "LogUIEventPayload"})
        self.assertEqual(answer, bad_request("The event payload lacks 'eventsToBeLogged'."))
        for value in (None, {}, "[]", 1, True):
            client = await self.greet()
            answer = await client.ask({"payloadType": "LogUIEventPayload", "eventsToBeLogged": value})
            self.assertEqual(answer, bad_request("'eventsToBeLogged' must be an array."))
        self.assertEqual(self.stored(), [])

    async def test_a_bad_event_is_named_by_position_and_copied(self) -> None:
        bad_events: list[Any] = [
            None,
            1.5,
            "text",
            [],
            [event(1)],
            True,
            {},
            {"clientdatetime": 1},
            *(
                {"clientDateTime": time, "n": 1}
                for time in (None, True, [], {}, "", "soon", "2026-11-22", 8.65e15, -8.65e12, 10**400)
            ),
        ]
        for place, bad in enumerate(bad_events):
            client = await self.greet()
            before = [event(n) for n in range(place % 3)]
            self.assertEqual(await client.events(*before, bad, event(9), 1), refused_at(len(before), bad))
        self.assertEqual(self.stored(), [])

    async def test_the_first_bad_event_is_named(self) -> None:
        client = await self.greet()
        self.assertEqual(await client.events(1, {"x": 1}, 2, None), refused_at(1, {"x": 1}))

    async def test_the_copy_is_exact(self) -> None:
        client = await self.greet()
        bad = rb'{"b" : 1.50, "a":"\ud83d\u00e9", "b":12345678901234567890123}'
        client.say(b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[' + bad + b"]}")
        self.assertIn(b'"badEventData":' + bad + b",", await client.socket.receive())

    async def test_all_or_nothing(self) -> None:
        client = await self.greet()
        await client.events(1, 2)
        self.assertEqual((await client.events(3, 4, None, 5))["statusCode"], "403")
        await client.events(6)
        self.assertEqual([(s, e["n"]) for s, e, _ in self.stored()], [(1, 1), (2, 2), (3, 6)])


class TooManyEventsTests(ServedTestCase):
    limits = Limits(max_events=10, drain_timeout=0.2)

    async def test_the_limit_and_one_more(self) -> None:
        client = await self.greet()
        self.assertEqual(await client.events(*range(10)), STORED)
        self.assertEqual(
            await client.events(*range(11)),
            bad_request("The event payload holds 11 events; at most 10 are allowed."),
        )
        self.assertEqual(len(self.stored(client.session)), 10)


class PipelinedTests(ServedTestCase):
    async def test_answers_come_in_the_order_of_the_messages(self) -> None:
        client = await self.greet()
        expected: list[tuple[Any, Any]] = []
        for n in range(200):
            expected.append((payload(n, payloadID=n + 1), {**STORED, "payloadID": n + 1}))
            if n % 50 == 10:
                expected.append((payload(n, None), refused_at(1, None)))
            if n % 20 == 15:
                change = {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": {"at": n}}
                expected.append((change, CHANGED))
        for message, _ in expected:
            client.say(message)
        self.assertEqual([await client.hear() for _ in expected], [answer for _, answer in expected])
        stored = self.stored(client.session)
        self.assertEqual([(s, e["n"]) for s, e, _ in stored], [(n + 1, n) for n in range(200)])
        for n, (_, _, data) in enumerate(stored):
            self.assertEqual(data, {"at": (n - 16) // 20 * 20 + 15} if n > 15 else {})

    async def test_many_clients_at_once(self) -> None:
        clients = [await self.greet(appSpecificLogData={"who": n}) for n in range(30)]
        for n in range(20):
            for client in clients:
                client.say(payload(n, n + 1000))
        for client in clients:
            self.assertEqual([await client.hear() for _ in range(20)], [STORED] * 20)
        for who, client in enumerate(clients):
            stored = self.stored(client.session)
            self.assertEqual([s for s, _, _ in stored], list(range(1, 41)))
            self.assertEqual([e["n"] for _, e, _ in stored], [m for n in range(20) for m in (n, n + 1000)])
            self.assertEqual([d for _, _, d in stored], [{"who": who}] * 40)


class CompressedTests(ServedTestCase):
    def setUp(self) -> None:
        # Where the server gave up on a frame it cannot hear the client's half of the closing handshake.
        self.patch(websocket, "CLOSE_TIMEOUT", 1.0)
        super().setUp()

    async def test_permessage_deflate(self) -> None:
        client = Client((await self.connect(compress=True)).socket)
        self.assertTrue(client.socket.compressed)
        session = (await client.ask(self.hello()))["sessionIdentifier"]
        text = "the same again and again " * 4_000
        for n in range(3):
            self.assertEqual(await client.events(event(n, text=text)), STORED)
        self.assertEqual([e["text"] for _, e, _ in self.stored(session)], [text] * 3)
        # A large answer comes compressed.
        bad = {"text": text}
        self.assertEqual(await client.events(bad), refused_at(0, bad))

    async def test_a_message_that_does_not_inflate_closes_1007(self) -> None:
        client = Client((await self.connect(compress=True)).socket)
        session = (await client.ask(self.hello()))["sessionIdentifier"]
        garbage = b"\xff" * 20
        client.socket.send_raw(bytes([0xC1, 0x80 | len(garbage)]) + b"\0\0\0\0" + garbage)
        self.assertEqual((await client.end()).code, 1007)
        self.assertEqual((await self.ended(session)).events, 0)

    async def test_whole_frames_by_another_compressor(self) -> None:
        client = Client((await self.connect(compress=True)).socket)
        await client.ask(self.hello())
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        for n in range(5):
            text = json.dumps(payload(event(n, text="x" * 50))).encode()
            data = (deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
            client.socket.send_raw(
                bytes([0xC1, 0x80 | 126]) + len(data).to_bytes(2, "big") + b"\0\0\0\0" + data
                if len(data) > 125
                else bytes([0xC1, 0x80 | len(data)]) + b"\0\0\0\0" + data
            )
            self.assertEqual(await client.hear(), STORED)
        self.assertEqual([e["n"] for _, e, _ in self.stored()], list(range(5)))
