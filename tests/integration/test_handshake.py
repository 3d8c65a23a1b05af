"""PROTOCOL, section 1, *Handshake*: who is let in, who is not, and what each is told."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from logui_tx.model import Limits
from logui_tx.registry.tokens import SigningKeys, TokenSigner
from logui_tx.web.client import UpgradeRefused
from tests.integration.served import Client, ServedTestCase, payload

ILL_TYPED_TIME = "'clientDateTime' must be UNIX seconds or milliseconds, or an ISO 8601 date and time."
ILL_TYPED_TOKEN = "'appIdentifier' must be a string: the flight's token."


class HandshakeTestCase(ServedTestCase):
    async def refused(self, client: Client, why: str) -> None:
        """400 with exactly this text, then 1008; nothing of it in the journal."""
        answer = await client.hear()
        self.assertEqual(
            answer,
            {
                "responseType": "LogUIHandshakeError",
                "statusCode": "400",
                "errorDetails": {"errorString": why, "terminate": True},
            },
        )
        end = await client.end()
        self.assertEqual((end.code, end.clean), (1008, True))
        self.assertEqual(self.sessions(), [])

    async def assert_refused(self, message: Any, why: str, binary: bool = False) -> None:
        client = await self.connect()
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        client.socket.send(text, binary=binary)
        await self.refused(client, why)


class FirstMessageTests(HandshakeTestCase):
    async def test_not_json(self) -> None:
        for message in (b"hello", b"", b"{", b"{}x", b'{"payloadType":NaN}', b"\x00"):
            client = await self.connect()
            client.say(message)
            answer = await client.hear()
            self.assertEqual(answer["statusCode"], "400", message)
            self.assertIn("not a valid JSON object", answer["errorDetails"]["errorString"])
            self.assertTrue(answer["errorDetails"]["terminate"])
            self.assertEqual((await client.end()).code, 1008)
        self.assertEqual(self.sessions(), [])

    async def test_not_an_object(self) -> None:
        why = "The handshake is not a valid JSON object: a JSON object is expected."
        for message in (b"[]", b"1", b"null", b'"LogUIHandshake"', json.dumps([self.hello()]).encode()):
            await self.assert_refused(message, why)

    async def test_binary(self) -> None:
        await self.assert_refused(self.hello(), "The handshake must be a text message.", binary=True)

    async def test_nested_too_deep(self) -> None:
        data = json.loads("[" * 511 + "]" * 511)
        await self.assert_refused(
            self.hello(appSpecificLogData={"a": data}),
            "The handshake is not a valid JSON object: the nesting is deeper than 512.",
        )

    async def test_another_payload_type_first(self) -> None:
        for message in (
            payload(1),
            {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": {}},
            self.hello(payloadType="loguihandshake"),
            self.hello(payloadType=1),
            {**self.hello(), "payloadType": None},
        ):
            await self.assert_refused(message, "The first message must be a LogUIHandshake.")

    async def test_each_missing_key(self) -> None:
        for key in ("payloadType", "clientDateTime", "appIdentifier", "appSpecificLogData"):
            await self.assert_refused(self.hello(**{key: None}), f"The handshake lacks the key '{key}'.")

    async def test_each_ill_typed_key(self) -> None:
        short = "must be a string of at most"
        cases = {
            "clientDateTime": (ILL_TYPED_TIME, [None, True, [], {}, "", "yesterday"]),
            "appIdentifier": (ILL_TYPED_TOKEN, [None, 1, True, [], {}, {"appID": "x"}, "\ud83d"]),
            "appSpecificLogData": ("'appSpecificLogData' must be an object.", [None, 1, "{}", [], True]),
            "domain": (f"'domain' {short} 8192 characters.", [1, True, [], {}, "\ud83d", "x" * 8193]),
            "sessionIdentifier": (f"'sessionIdentifier' {short} 8192 characters.", [1, False, [], {}]),
            "clientInstance": (f"'clientInstance' {short} 128 characters.", [1, [], {}, "x" * 129]),
        }
        for key, (why, values) in cases.items():
            for value in values:
                await self.assert_refused({**self.hello(), key: value}, why)
        for value in (1, [], {}):
            client = await self.connect()
            text = (await client.ask({**self.hello(), "referrer": value}))["errorDetails"]["errorString"]
            self.assertIn("'referrer' must be a string", text)

    async def test_keys_that_are_no_unicode(self) -> None:
        await self.assert_refused(
            self.hello(appSpecificLogData={"\ud83d": 1}),
            "The keys of 'appSpecificLogData' must be valid Unicode.",
        )

    async def test_too_much_application_specific_data(self) -> None:
        data = {"a": "x" * 65_536}
        await self.assert_refused(
            self.hello(appSpecificLogData=data),
            "The application-specific data would take 65544 bytes; at most 65536 are allowed.",
        )
        fits = await self.greet(appSpecificLogData={"a": "x" * (65_536 - len('{"a":""}'))})
        self.assertEqual((await fits.events(1))["statusCode"], "201")


class ClientTimeTests(HandshakeTestCase):
    async def test_accepted(self) -> None:
        """Seconds below 1e11, milliseconds from there on; ISO 8601 in UTC unless it names a zone."""
        iso = 1_795_306_226_888
        accepted = {
            0: 0,
            -1: -1000,
            1.5: 1500,
            "1.5": 1500,
            "-2e3": -2_000_000,
            99_999_999_999: 99_999_999_999_000,
            100_000_000_000: 100_000_000_000,
            "99999999999": 99_999_999_999_000,
            "1e11": 100_000_000_000,
            "1760000000": 1_760_000_000_000,
            8_640_000_000_000_000: 8_640_000_000_000_000,
            -8_640_000_000_000: -8_640_000_000_000_000,
            "2026-11-22T00:10:26.888Z": iso,
            "2026-11-22T00:10:26.888": iso,
            "2026-11-22 00:10:26.888": iso,
            "2026-11-22 02:10:26.888+02:00": iso,
            "2026-11-21T19:10:26.888-0500": iso,
        }
        for time, milliseconds in accepted.items():
            client = await self.greet(clientDateTime=time)
            await client.events(1)
            (message,) = self.reader().messages([self.session(client.session)])
            started = self.session(client.session).started_at
            self.assertEqual(message.clock_offset, milliseconds - started, time)

    async def test_refused(self) -> None:
        for time in (
            8_640_000_000_000_001,
            -8_640_000_000_001,
            "8640000000000001",
            10**400,
            "9" * 400,
            "1e400",
            " 1",
            "1_000",
            "0x1",
            "١٢٣",
            "NaN",
            "2026-11-22",
            "2026-13-22T00:00:00Z",
            "2026-11-22T25:00:00Z",
            "2026-11-22  00:10:26",
            "2026-11-22T00:10:26Zx",
            "22.11.2026 00:10",
        ):
            await self.assert_refused(self.hello(clientDateTime=time), ILL_TYPED_TIME)
        await self.assert_refused(
            json.dumps(self.hello(clientDateTime=7)).replace("7", "1e400", 1).encode(), ILL_TYPED_TIME
        )


class TokenTests(HandshakeTestCase):
    NOT_OURS = "The token was not signed by this server."

    async def test_a_token_that_does_not_verify_is_refused_and_never_echoed(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        other = Path(folder.name)
        content, _, signature = self.token.rpartition(".")
        for token in (
            "",
            "garbage-of-somebody",
            "." * 50,
            content,
            f"{content}.{signature[::-1]}",
            f"x{self.token}",
            f"{self.token}x",
            f"{self.token}\n",
            "ü" + self.token,
            self.token * 200,
            TokenSigner(SigningKeys(other)).issue(self.flight),
        ):
            client = await self.connect()
            client.say(self.hello(appIdentifier=token))
            said = (await client.socket.receive()).decode()
            self.assertEqual(json.loads(said)["errorDetails"]["errorString"], self.NOT_OURS)
            if token:
                self.assertNotIn(token, said)
            self.assertNotIn(signature, said)
            self.assertEqual((await client.end()).code, 1008)
        self.assertEqual(self.sessions(), [])

    async def test_signed_content_that_is_not_a_flights(self) -> None:
        for content in ({"appID": "a", "flightID": "b"}, ["a", "b", "c"], "text", {"appID": 1}):
            token = self.signer._signature.sign(content)
            await self.assert_refused(self.hello(appIdentifier=token), "The token is not a flight's.")

    async def test_unknown_flight_and_application(self) -> None:
        why = "The token's application or flight is unknown."
        self.registry.delete_flight(self.flight.id)
        await self.assert_refused(self.hello(), why)
        flight = self.registry.create_flight(self.application.id, "Second", ["localhost"])
        token = self.signer.issue(flight)
        self.registry.delete_application(self.application.id)
        await self.assert_refused(self.hello(appIdentifier=token), why)

    async def test_a_flight_of_another_application(self) -> None:
        content = {"appID": str(uuid.uuid4()), "flightID": self.flight.id, "clientVersion": "0.4.0"}
        token = self.signer._signature.sign(content)
        await self.assert_refused(
            self.hello(appIdentifier=token), "The token's flight is not its application's."
        )

    async def test_an_inactive_flight_until_it_is_active_again(self) -> None:
        self.registry.set_active(self.flight.id, False)
        await self.assert_refused(self.hello(), "The flight is not active.")
        self.registry.set_active(self.flight.id, True)

        async def admitted() -> bool:
            client = await self.connect()
            return (await client.ask(self.hello()))["statusCode"] == "200"

        # The server may believe its last answer for half a second.
        while not await admitted():
            pass

    async def test_the_tokens_client_version_differs_from_the_endpoints(self) -> None:
        content = {
            "appID": self.application.id,
            "flightID": self.flight.id,
            "clientVersion": "0.5.4",
        }
        token = self.signer._signature.sign(content)
        await self.assert_refused(
            self.hello(appIdentifier=token),
            "The token is for client version '0.5.4', this endpoint is for '0.4.0'.",
        )

    async def test_a_domain_that_is_not_the_flights(self) -> None:
        await self.assert_refused(
            self.hello(domain="evil.example"), "The domain 'evil.example' is not one of the flight's."
        )
        await self.assert_refused(
            self.hello(domain=None),
            "Neither an origin nor a domain was told, and the flight does not accept any.",
        )


class NoHandshakeTests(HandshakeTestCase):
    limits = Limits(handshake_timeout=0.05, drain_timeout=0.2)

    async def test_silence_is_refused(self) -> None:
        client = await self.connect()
        await self.refused(client, "No handshake was made within 0.05 seconds.")

    async def test_half_a_handshake_is_refused(self) -> None:
        client = await self.connect()
        client.socket.send_raw(b"\x81\xfe\x01\x00\0\0\0\0" + b'{"payloadType":')
        await self.refused(client, "No handshake was made within 0.05 seconds.")


class HandshakeInTimeTests(HandshakeTestCase):
    # Enough for a handshake on a busy machine.
    limits = Limits(handshake_timeout=2, drain_timeout=0.2)

    async def test_who_has_shaken_hands_may_be_silent(self) -> None:
        client, silent = await self.greet(), await self.connect()
        self.assertEqual((await silent.hear())["statusCode"], "400")
        self.assertEqual((await client.events(1))["statusCode"], "201")


class SuccessTests(HandshakeTestCase):
    async def test_the_shape_of_the_answer(self) -> None:
        client = await self.greet()
        self.assertEqual(
            set(client.welcome),
            {"responseType", "statusCode", "sessionIdentifier", "serverDateTime", "lastPayloadID"},
        )
        self.assertEqual(client.welcome["responseType"], "LogUIHandshakeSuccess")
        self.assertIs(type(client.welcome["statusCode"]), str)
        session = uuid.UUID(client.session)
        self.assertEqual((session.version, str(session)), (4, client.session))
        self.assertRegex(client.welcome["serverDateTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        server_time = datetime.fromisoformat(client.welcome["serverDateTime"])
        self.assertEqual(server_time.utcoffset(), UTC.utcoffset(None))
        self.assertEqual(client.welcome["lastPayloadID"], 0)
        self.assertIs(type(client.welcome["lastPayloadID"]), int)

    async def test_the_session_is_in_the_journal_before_the_answer(self) -> None:
        client = await self.greet(referrer="https://search.example/?q=ü")
        session = self.session(client.session)
        self.assertEqual(
            (session.flight_id, session.application_id, session.dialect, session.ended_at, session.duration),
            (self.flight.id, self.application.id, "logui-0.4", None, None),
        )
        self.assertEqual(session.referrer, "https://search.example/?q=ü")

    async def test_unknown_keys_and_null_options_change_nothing(self) -> None:
        client = await self.connect()
        nothing = {"sessionIdentifier": None, "clientInstance": None, "referrer": None}
        answer = await client.ask({**self.hello(), **nothing, "userAgent": {"x": [1]}})
        self.assertEqual(answer["statusCode"], "200")

    async def test_every_handshake_is_a_session_of_its_own(self) -> None:
        clients = [await self.greet() for _ in range(5)]
        self.assertEqual(len({client.session for client in clients}), 5)

    async def test_what_follows_in_the_same_breath_waits_for_the_answer(self) -> None:
        client = await self.connect()
        for message in (self.hello(), payload(1), payload(2)):
            client.say(message)
        self.assertEqual([(await client.hear())["statusCode"] for _ in range(3)], ["200", "201", "201"])


class PathTests(HandshakeTestCase):
    async def test_an_unknown_version_is_404_before_the_upgrade(self) -> None:
        for path in (
            "/logui/endpoint/0.3.0/",
            "/logui/endpoint/0.4.1/",
            "/logui/endpoint/0.5.4/",
            "/logui/endpoint/",
            "/logui/endpoint//",
            "/logui/endpoint/0.4.0/more/",
            "/logui/",
        ):
            with self.assertRaises(UpgradeRefused) as caught:
                await self.connect(path)
            self.assertEqual(caught.exception.status, 404, path)

    async def test_a_query_changes_nothing(self) -> None:
        client = await self.connect("/logui/endpoint/0.4.0/?x=1")
        self.assertEqual((await client.ask(self.hello()))["statusCode"], "200")
