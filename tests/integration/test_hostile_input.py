"""PROTOCOL, *Common rules*: input that means harm, or is merely strange; nobody else notices."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

from logui_tx.dialects.logui04 import LogUI04
from logui_tx.web import websocket
from logui_tx.web.client import Closed
from logui_tx.web.frames import AT_ONCE
from tests.integration.served import Client, ServedTestCase, event, payload

STORED = {"responseType": "LogUIEventPayloadSuccess", "statusCode": "201"}
MIB = 1024 * 1024


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """A WebSocket frame by hand; the mask is zero, which is one too."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask | len(payload)])
    elif len(payload) < 65_536:
        head += bytes([mask | 126]) + len(payload).to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + len(payload).to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


def with_value(value: bytes) -> bytes:
    """A payload of one event with this value in it."""
    return b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[{"clientDateTime":1,"x":%b}]}' % value


class HostileTestCase(ServedTestCase):
    def setUp(self) -> None:
        # Where the server gave up on a frame it cannot hear the client's half of the closing handshake.
        self.patch(websocket, "CLOSE_TIMEOUT", 1.0)
        super().setUp()

    async def with_bystander(self) -> Client:
        """A client; ``self.bystander`` is another, who must not notice what becomes of it."""
        self.bystander = await self.greet()
        return await self.greet()

    async def assert_unharmed(self) -> None:
        self.assertEqual(await self.bystander.events(1), STORED)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def assert_closed(self, client: Client, code: int, reason: str = "badRequests") -> None:
        """With a close frame; and nothing was stored."""
        end = await client.end()
        self.assertEqual(end.code, code)
        session = await self.ended(client.session)
        self.assertEqual((session.events, session.end_reason), (0, reason))
        await self.assert_unharmed()

    def kept(self, session: str) -> list[bytes]:
        """The stored events, byte for byte."""
        messages = self.reader().messages([self.session(session)])
        return [each.raw for message in messages for each in LogUI04().events(message.message)]


class TextTests(HostileTestCase):
    async def test_invalid_utf8_closes_1007(self) -> None:
        for bad in (b"\xff", b"\xc3", b"\xed\xa0\xbd", b"\xc0\xaf", b"\xf5\x80\x80\x80"):
            client = await self.with_bystander()
            client.say(with_value(b'"' + bad + b'"'))
            await self.assert_closed(client, 1007)

    async def test_invalid_utf8_instead_of_a_handshake_closes_1007(self) -> None:
        client = await self.connect()
        client.say(b"\xff\xfe")
        self.assertEqual((await client.end()).code, 1007)
        self.assertEqual(self.sessions(), [])

    async def test_strange_texts_are_stored_as_sent(self) -> None:
        client = await self.with_bystander()
        for text in (
            rb'"\ud83d"',
            rb'"\udc00\ud83d"',
            rb'["\ud83d",{"\udfff":"\ud83d\ude00"}]',
            rb'"\u0000"',
            b'"\x7f"',
            '"\u2028\ufeff\U0010ffff\ufffe"'.encode(),
            rb'"\\\" ]}[{"',
            rb'"\/\b\f\u00e9"',
            b'""',
            b'{"":{"":[]}}',
        ):
            client.say(with_value(text))
            self.assertEqual(await client.hear(), STORED, text)
            self.assertEqual(self.kept(client.session)[-1], b'{"clientDateTime":1,"x":%b}' % text)
        await self.assert_unharmed()

    async def test_what_is_no_json_is_401(self) -> None:
        for bad in (
            *(b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"+1", b"-", b"1e", b"0x1", b"tru"),
            *(b'"\x00"', b'"\n"', rb'"\q"', rb'"\u12"', b"'x'", b"[1,]", b'{"a":1,}', b"{a:1}", b"/**/1"),
            *(b'["\\ud83d",NaN]', b'["\\ud83d",01]', b'["\\ud83d",]', b'["\\ud83d"', b'{"\\ud83d"}'),
        ):
            client = await self.with_bystander()
            client.say(with_value(bad))
            answer = await client.hear()
            self.assertEqual(answer["statusCode"], "401", bad)
            self.assertIn("not a valid JSON object", answer["errorDetails"]["errorString"])
            self.assertEqual(self.stored(client.session), [])
            await self.assert_unharmed()

    async def test_numbers_of_any_size_are_stored_as_sent(self) -> None:
        client = await self.with_bystander()
        for number in (
            *(b"1e400", b"-1E+400", b"1e-400", b"-0", b"-0.0", b"9" * 400, b"9" * 5000, b"0." + b"1" * 5000),
            *(b'["\\ud83d",' + b"9" * 5000 + b"]", b'["\\ud83d",1e400]'),
        ):
            client.say(with_value(number))
            self.assertEqual(await client.hear(), STORED, number[:20])
            self.assertEqual(self.kept(client.session)[-1], b'{"clientDateTime":1,"x":%b}' % number)
        await self.assert_unharmed()

    async def test_huge_numbers_as_times_are_403_and_as_ids_401(self) -> None:
        for number in (b"9" * 400, b"9" * 5000, b"1e400", b"-1e400", b"1e99999999"):
            client = await self.with_bystander()
            client.say(with_value(b"1").replace(b'Time":1', b'Time":' + number))
            self.assertIn(b'"statusCode":"403"', await client.socket.receive())
            client.say(with_value(b"1")[:-1] + b',"payloadID":' + number + b"}")
            self.assertEqual((await client.hear())["statusCode"], "401")
            await self.assert_unharmed()

    async def test_of_duplicate_keys_the_last_counts(self) -> None:
        client = await self.with_bystander()
        doubled = b'{"clientDateTime":null,"n":1,"n":2,"clientDateTime":5}'
        client.say(
            b'{"payloadType":"x","eventsToBeLogged":[null],"payloadID":1,"payloadID":7,'
            b'"eventsToBeLogged":[' + doubled + b'],"payloadType":"LogUIEventPayload"}'
        )
        self.assertEqual(await client.hear(), {**STORED, "payloadID": 7})
        self.assertEqual(self.kept(client.session), [doubled])
        client.say(b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[],"eventsToBeLogged":[1]}')
        self.assertEqual((await client.hear())["statusCode"], "403")
        client.say(with_value(b"1").replace(b'Time":1', b'Time":1,"clientDateTime":null'))
        self.assertEqual((await client.hear())["statusCode"], "403")
        await self.assert_unharmed()


class NestingTests(HostileTestCase):
    def nested(self, depth: int, inner: bytes = b"") -> bytes:
        """A payload with this nesting in all: object, array and event are the first three."""
        return with_value(b"[" * (depth - 3) + inner + b"]" * (depth - 3))

    async def test_512_deep_is_stored_and_513_is_bad_json(self) -> None:
        hidden = (
            b"",
            rb'"\\\"]]]]]]]]"',
            rb'"]]]]]]]]\\","\"[[[["',
            b'"\\ud83d]]]]]]"',
            b'{"]]]":"}}}"}'[1:-1].replace(b":", b","),
        )
        for inner in hidden:
            client = await self.with_bystander()
            client.say(self.nested(512, inner))
            self.assertEqual(await client.hear(), STORED, inner)
            client.say(self.nested(513, inner))
            answer = await client.hear()
            self.assertEqual(answer["statusCode"], "401", inner)
            self.assertIn("deeper than 512", answer["errorDetails"]["errorString"])
            self.assertEqual(len(self.kept(client.session)), 1)
            await self.assert_unharmed()

    async def test_brackets_in_strings_are_no_nesting(self) -> None:
        client = await self.with_bystander()
        for text in (b'"' + b"[" * 10_000 + b'"', b'"' + rb"\"[{" * 5_000 + b'"', rb'"\\",["[[[","\\\"{"]'):
            client.say(with_value(text if text.startswith(b'"[') else b"[" + text + b"]"))
            self.assertEqual(await client.hear(), STORED)
        await self.assert_unharmed()

    async def test_wide_is_not_deep(self) -> None:
        client = await self.with_bystander()
        client.say(with_value(b"[" + b",".join([b"[{}]"] * 20_000) + b"]"))
        self.assertEqual(await client.hear(), STORED)
        await self.assert_unharmed()

    async def test_100_000_deep_is_401_wherever_it_stands(self) -> None:
        deep = b"[" * 100_000
        for text in (
            deep,
            deep + b"]" * 100_000,
            b'{"a":' * 100_000,
            self.nested(100_000),
            with_value(b"1").replace(b'[{"client', deep + b'[{"client'),
            b'{"payloadType":' + deep + b"]" * 100_000 + b"}",
            b'{"payloadType":"LogUIAppSpecificLogDataChange","appSpecificLogData":{"a":'
            + deep
            + b"]" * 100_000
            + b"}}",
            b'{"payloadType":"\\ud83d","x":' + deep,
        ):
            client = await self.with_bystander()
            client.say(text)
            self.assertEqual((await client.hear())["statusCode"], "401")
            await self.assert_unharmed()

    async def test_a_handshake_100_000_deep_is_400(self) -> None:
        client = await self.connect()
        client.say(b"[" * 100_000)
        self.assertEqual((await client.hear())["statusCode"], "400")
        self.assertEqual((await client.end()).code, 1008)


class SizeTests(HostileTestCase):
    async def test_a_message_of_the_largest_size_is_stored(self) -> None:
        client = await self.with_bystander()
        text = b'"' + b"x" * (4 * MIB - len(with_value(b'""'))) + b'"'
        client.say(with_value(text))
        self.assertEqual(await client.hear(), STORED)
        self.assertEqual(self.kept(client.session), [b'{"clientDateTime":1,"x":%b}' % text])
        await self.assert_unharmed()

    async def test_a_message_too_large_closes_1009_with_a_close_frame(self) -> None:
        for size in (4 * MIB + 1, 5 * MIB):
            client = await self.with_bystander()
            client.say(with_value(b'"' + b"x" * (size - len(with_value(b'""'))) + b'"'))
            await self.assert_closed(client, 1009)

    async def test_a_frame_that_only_claims_to_be_large_closes_1009_at_once(self) -> None:
        for size in (5 * MIB, 2**40, 2**63 - 1):
            client = await self.with_bystander()
            client.socket.send_raw(b"\x81\xff" + size.to_bytes(8, "big") + b"\0\0\0\0" + b"{")
            await self.assert_closed(client, 1009)

    async def test_fragments_count_together(self) -> None:
        client = await self.with_bystander()
        client.socket.send_raw(frame(b"x" * MIB, fin=False))
        for _ in range(4):
            client.socket.send_raw(frame(b"x" * MIB, opcode=0, fin=False))
        await self.assert_closed(client, 1009)

    async def test_a_compressed_bomb_closes_1009(self) -> None:
        self.bystander = await self.greet()
        client = await self.connect(compress=True)
        client.session = (await client.ask(self.hello()))["sessionIdentifier"]
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = b"".join(deflate.compress(b" " * MIB) for _ in range(300)) + deflate.flush(zlib.Z_SYNC_FLUSH)
        self.assertLess(len(bomb), MIB)
        client.socket.send_raw(frame(bomb[:-4], rsv=4))
        await self.assert_closed(client, 1009)

    async def test_100_000_empty_events_are_401(self) -> None:
        client = await self.with_bystander()
        for one in (b"{}", b"0", b'{"clientDateTime":1}', b'{"clientDateTime":1,"x":"\\ud83d"}'):
            many = b",".join([one] * 100_000)
            client.say(b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[' + many + b"]}")
            answer = await client.hear()
            self.assertEqual(answer["statusCode"], "401")
            self.assertIn("holds 100000 events; at most 5000", answer["errorDetails"]["errorString"])
        await self.assert_unharmed()


class FrameTests(HostileTestCase):
    async def test_unmasked_frames_close_1002(self) -> None:
        client = await self.with_bystander()
        client.socket.send_raw(frame(json.dumps(payload(1)).encode(), masked=False))
        await self.assert_closed(client, 1002)

    async def test_frames_that_break_the_protocol_close_1002(self) -> None:
        for bad in (
            frame(b"{}", opcode=3),
            frame(b"{}", opcode=11),
            frame(b"{}", opcode=0),
            frame(b"{}", rsv=2),
            frame(b"{}", rsv=4),
            frame(b"{}", fin=False) + frame(b"{}"),
            frame(b"x" * 126, opcode=9),
            frame(b"", opcode=9, fin=False),
            b"\x81\xfe\x00\x01\0\0\0\0x",
        ):
            client = await self.with_bystander()
            client.socket.send_raw(bad)
            await self.assert_closed(client, 1002)

    async def test_broken_close_frames_end_the_connection(self) -> None:
        for bad in (b"\x03", (1005).to_bytes(2, "big"), (5000).to_bytes(2, "big"), b"\x03\xe8\xff"):
            client = await self.with_bystander()
            client.socket.send_raw(frame(bad, opcode=8))
            await client.end()
            self.assertEqual((await self.ended(client.session)).events, 0)
            await self.assert_unharmed()

    async def test_fragmented_messages_with_pings_between(self) -> None:
        client = await self.with_bystander()
        text = json.dumps(payload(event(1, text="ü" * 99)), ensure_ascii=False).encode()
        for size in (1, 7, 1000):
            parts = [text[i : i + size] for i in range(0, len(text), size)]
            for place, part in enumerate(parts):
                last = place == len(parts) - 1
                client.socket.send_raw(frame(part, 0 if place else 1, fin=last) + frame(b"?", opcode=9))
            self.assertEqual(await client.hear(), STORED)
        self.assertEqual([e["text"] for _, e, _ in self.stored(client.session)], ["ü" * 99] * 3)
        await self.assert_unharmed()

    async def test_endless_empty_fragments_do_not_pile_up(self) -> None:
        client = await self.with_bystander()
        (mine,) = (s for s in self.service._sockets if s.conversation._opened.session.id == client.session)
        text = json.dumps(payload(1)).encode()
        client.socket.send_raw(frame(text[:9], fin=False) + frame(b"", opcode=0, fin=False) * 5_000)
        client.socket.send_raw(frame(text[9:], opcode=0, fin=False))
        await self.until(lambda: mine.trafficStats.incomingWebSocketFrames == 5_003)
        self.assertLess(len(mine.message_data), 10)
        client.socket.send_raw(frame(b"", opcode=0))
        self.assertEqual(await client.hear(), STORED)
        await self.assert_unharmed()

    def turns(self) -> list[Any]:
        """Grows with each time that a connection leaves the rest of what it has for the next turn."""
        found: list[Any] = []
        put_off = websocket.Socket.put_off
        self.patch(websocket.Socket, "put_off", lambda mine: (found.append(mine), put_off(mine)))
        return found

    async def test_very_many_small_frames_are_taken_in_turns(self) -> None:
        client = await self.with_bystander()
        turns = self.turns()
        text = json.dumps(payload(1)).encode()
        client.socket.send_raw(frame(b"", opcode=9) * 5_000 + frame(text) + frame(b"", opcode=10) * 5_000)
        client.socket.send_raw(frame(text))
        for _ in range(2):
            self.assertEqual(await client.hear(), STORED)
        self.assertEqual(len(set(turns)), 1)
        self.assertGreaterEqual(len(turns), 10_000 // AT_ONCE)
        await self.assert_unharmed()

    async def test_and_behind_a_goodbye(self) -> None:
        client = await self.with_bystander()
        turns = self.turns()
        pings = frame(b"", opcode=9) * 1_000
        client.socket.send_raw(frame(b"bad") * 5 + pings + frame(b"\x03\xe8", opcode=8))
        heard = [(await client.hear())["statusCode"] for _ in range(5)]
        self.assertEqual(heard, ["401"] * 4 + ["402"])
        await self.assert_closed(client, 1008)
        self.assertGreaterEqual(len(turns), 1_000 // AT_ONCE)

    async def test_a_frame_byte_by_byte(self) -> None:
        client = await self.with_bystander()
        for byte in frame(json.dumps(payload(1)).encode()):
            client.socket.send_raw(bytes([byte]))
        self.assertEqual(await client.hear(), STORED)

    async def test_random_bytes_after_the_upgrade(self) -> None:
        """Whatever they are, they end this connection or wait for more, and harm no other."""
        self.bystander = await self.greet()
        for seed in range(40):
            client = await self.connect()
            if seed % 2:
                client.session = (await client.ask(self.hello()))["sessionIdentifier"]
            client.socket.send_raw(random.Random(seed).randbytes(2_000))
            client.socket.abort()
            await client.socket.closed
            await self.assert_unharmed()
        await self.until(lambda: len(self.service._sockets) == 1)
        self.assertEqual({session.events for session in self.sessions()} - {40}, {0})


class RandomTextTests(HostileTestCase):
    async def test_mangled_messages_are_answered(self) -> None:
        """Any message is answered with a status, or ends its own connection with a close frame."""
        self.bystander = await self.greet()
        chance = random.Random(4)
        parts = [b"", b"[", b'"', b"\\", b"}", b"0", b"\x80", b",", b"\\u", b"\xf0\x9f", b"null", b"1e400"]
        whole = json.dumps(payload(event(1, t='\ud83d"\\[{'), payloadID=3), ensure_ascii=True).encode()
        for _ in range(300):
            text = bytearray(whole)
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(text))
                text[at : at + chance.randrange(3)] = chance.choice(parts)
            client = await self.greet()
            client.say(bytes(text))
            heard: Any = None
            try:
                heard = (await client.hear())["statusCode"]
            except Closed as end:
                heard = end.code
            self.assertIn(heard, ("201", "401", "403", 1007), bytes(text))
            client.socket.close()
        await self.assert_unharmed()
