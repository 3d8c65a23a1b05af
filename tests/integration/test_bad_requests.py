"""PROTOCOL, section 1, *Listening*: what is not understood is 401, and the fifth hit ends the connection."""

from __future__ import annotations

import json
import random
from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults

from logui_tx.model import Limits
from tests.integration.served import Client, ServedTestCase, event, payload

EXCEEDED = {
    "responseType": "LogUIBadRequestCountExceeded",
    "statusCode": "402",
    "errorDetails": {"errorString": "The number of bad requests has been exceeded.", "terminate": True},
}


def change(**data: Any) -> dict[str, Any]:
    return {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": data}


class BadRequestTests(ServedTestCase):
    async def assert_401(self, message: bytes | dict[str, Any], why: str, binary: bool = False) -> None:
        client = await self.greet()
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        client.socket.send(text, binary=binary)
        answer = await client.hear()
        self.assertEqual(set(answer), {"responseType", "statusCode", "errorDetails"})
        self.assertEqual((answer["responseType"], answer["statusCode"]), ("LogUIBadRequest", "401"), message)
        self.assertEqual(set(answer["errorDetails"]), {"errorString", "terminate"})
        self.assertIs(answer["errorDetails"]["terminate"], False)
        self.assertIn(why, answer["errorDetails"]["errorString"])
        self.assertEqual((await client.events(1))["statusCode"], "201")

    async def test_bad_json(self) -> None:
        for text in (
            b"",
            b"{",
            b"hello",
            b"[]",
            b"null",
            b"1",
            b'"x"',
            json.dumps(payload(1)).encode() + b"x",
        ):
            await self.assert_401(text, "not a valid JSON object")

    async def test_binary(self) -> None:
        await self.assert_401(payload(1), "binary messages are not part of it", binary=True)

    async def test_unknown_type(self) -> None:
        for kind in ("LogUIUnknown", "", "loguieventpayload", None, 1, [], {}):
            await self.assert_401({**payload(1), "payloadType": kind}, "its payloadType is not known")
        await self.assert_401({"eventsToBeLogged": []}, "its payloadType is not known")

    async def test_a_second_handshake(self) -> None:
        await self.assert_401(self.hello(), "the handshake was made already")

    async def test_nothing_of_what_is_refused_is_stored(self) -> None:
        client = await self.greet()
        client.socket.send(json.dumps(payload(1)).encode(), binary=True)
        client.say({**payload(2), "payloadType": "x"})
        client.say({**payload(3), "session": "x"})
        client.say(payload(4, None))
        self.assertEqual([(await client.hear())["statusCode"] for _ in range(4)], ["401"] * 3 + ["403"])
        await client.events(5)
        self.assertEqual([(s, e["n"]) for s, e, _ in self.stored()], [(1, 5)])


class FiveHitsTests(ServedTestCase):
    BAD = {"401": {"payloadType": "x"}, "403": payload(None)}

    async def hit(self, client: Client, codes: list[str]) -> None:
        for code in codes:
            answer = await client.ask(self.BAD[code])
            self.assertEqual(answer["statusCode"], code)
            self.assertIs(answer["errorDetails"]["terminate"], False)

    async def test_401_and_403_count_together(self) -> None:
        for bits in range(32):
            codes = [("401", "403")[bits >> n & 1] for n in range(5)]
            client = await self.greet()
            await self.hit(client, codes[:4])
            self.assertEqual(await client.ask(self.BAD[codes[4]]), EXCEEDED)
            end = await client.end()
            self.assertEqual((end.code, end.clean), (1008, True))
            self.assertEqual((await self.ended(client.session)).end_reason, "badRequests")

    async def test_good_messages_do_not_reset_the_count(self) -> None:
        client = await self.greet()
        for n in range(4):
            await self.hit(client, ["401"])
            self.assertEqual((await client.events(n))["statusCode"], "201")
            self.assertEqual((await client.ask(change(n=n)))["statusCode"], "201")
        self.assertEqual(await client.ask(b"x"), EXCEEDED)
        self.assertEqual((await client.end()).code, 1008)
        self.assertEqual((await self.ended(client.session)).events, 4)

    async def test_hits_count_per_connection(self) -> None:
        one = await self.greet()
        two = await self.greet(sessionIdentifier=one.session)
        await self.hit(one, ["401"] * 4)
        await self.hit(two, ["403"] * 4)
        self.assertEqual(await one.ask(b"x"), EXCEEDED)
        self.assertEqual((await one.end()).code, 1008)
        self.assertEqual((await two.events(1))["statusCode"], "201")
        again = await self.greet(sessionIdentifier=one.session)
        await self.hit(again, ["401"] * 4)

    async def test_pipelined_hits_wait_for_the_acknowledgements_before_them(self) -> None:
        client = await self.greet()
        for n in range(5):
            client.say(payload(n))
            client.say(b"x")
        client.say(payload(99))
        codes = [(await client.hear())["statusCode"] for _ in range(10)]
        self.assertEqual(codes, ["201", "401"] * 4 + ["201", "402"])
        self.assertEqual((await client.end()).code, 1008)
        session = await self.ended(client.session)
        self.assertEqual((session.events, session.end_reason), (5, "badRequests"))

    async def test_after_the_fifth_nothing_is_stored(self) -> None:
        client = await self.greet()
        for _ in range(5):
            client.say(b"x")
        client.say(payload(1))
        client.say(payload(session="shutdownClient"))
        codes = [(await client.hear())["statusCode"] for _ in range(5)]
        self.assertEqual(codes, ["401"] * 4 + ["402"])
        await client.end()
        session = await self.ended(client.session)
        self.assertEqual((session.events, session.end_reason), (0, "badRequests"))


class Expected:
    """A tiny model of a session with one socket: what each message is answered, and what is stored then."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.stored: list[tuple[int, dict[str, Any], dict[str, Any]]] = []
        self.hits = 0
        self.last_id = 0

    def answer(self, message: Any) -> str | None:
        """The status code; None where the connection is closed without an answer."""
        kind = message.get("payloadType") if isinstance(message, dict) else None
        if kind == "LogUIAppSpecificLogDataChange":
            changed = {**self.data, **message["appSpecificLogData"]}
            self.data = {key: value for key, value in changed.items() if value is not None}
            return "201"
        if kind != "LogUIEventPayload":
            return self._hit("401")
        events, payload_id = message["eventsToBeLogged"], message.get("payloadID")
        if not isinstance(events, list) or message.get("session", "leavingPage") not in (
            "leavingPage",
            "shutdownClient",
        ):
            return self._hit("401")
        if any(not isinstance(e, dict) or "clientDateTime" not in e for e in events):
            return self._hit("403")
        if payload_id is None or payload_id > self.last_id:
            self.last_id = payload_id or self.last_id
            for e in events:
                self.stored.append((len(self.stored) + 1, e, self.data))
        return None if "session" in message else "201"

    def _hit(self, code: str) -> str:
        self.hits += 1
        return "402" if self.hits == 5 else code


class RandomConversationTests(ServedTestCase):
    """Any mix of messages is answered, and stored, as the model says."""

    limits = Limits(drain_timeout=0.2)
    timeout = 120

    def make(self, chance: random.Random, n: int, ids: list[int]) -> Any:
        some = [
            event(n * 10 + i, x=chance.choice(["", "ü" * 9, 1.5, None])) for i in range(chance.randrange(4))
        ]
        more: dict[str, Any] = {}
        if chance.random() < 0.5:
            if chance.random() < 0.7:
                ids[0] += chance.randrange(1, 4)
            more["payloadID"] = max(1, ids[0] - chance.choice([0, 0, 0, 1, 5]))
        match chance.choices(range(9), [40, 20, 1, 1, 1, 1, 1, 1, 1])[0]:
            case 0:
                return payload(*some, **more)
            case 1:
                return change(**{chance.choice("abc"): chance.choice([None, n, {"n": [n]}, None])})
            case 2:
                return payload(*some, chance.choice([None, {}, [], "x"]), **more)
            case 3:
                return {"payloadType": chance.choice(["x", None, 7])}
            case 4:
                return b"not json"
            case 5:
                return payload(*some, session="sometimes", **more)
            case 6:
                return self.hello()
            case 7:
                return {**payload(), "eventsToBeLogged": chance.choice([None, {}, 1])}
            case _:
                leave = chance.choice(["leavingPage", "shutdownClient"])
                return payload(*some, session=leave, **more) if n > 50 else payload(*some)

    async def converse(self, seed: int) -> None:
        chance = random.Random(seed)
        data = {"seed": seed}
        expected, ids, n = Expected(data), [0], 0
        client = await self.greet(appSpecificLogData=data)
        code: str | None = "201"
        reason = "closed"
        while code not in ("402", None) and n < 150:
            answers = []
            for _ in range(chance.randrange(1, 12)):
                message = self.make(chance, n, ids)
                code = expected.answer(message)
                client.say(message)
                n += 1
                answers.append(code)
                if code in ("402", None):
                    reason = "badRequests" if code else message["session"]
                    break
            heard = [(await client.hear())["statusCode"] for answer in answers if answer]
            self.assertEqual(heard, [answer for answer in answers if answer], f"seed {seed}")
        if reason == "closed":
            client.socket.close()
        end = await client.end()
        codes = {"closed": 1000, "badRequests": 1008, "leavingPage": 1000, "shutdownClient": 1000}
        self.assertEqual(end.code, codes[reason], f"seed {seed}")
        session = await self.ended(client.session)
        self.assertEqual((session.end_reason, session.events), (reason, len(expected.stored)), f"seed {seed}")
        self.assertEqual(self.stored(client.session), expected.stored, f"seed {seed}")

    async def test_random_conversations(self) -> None:
        for first in range(0, 60, 10):
            await gatherResults(
                [ensureDeferred(self.converse(seed)) for seed in range(first, first + 10)], consumeErrors=True
            )
