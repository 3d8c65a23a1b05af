"""Pages of a released LogUI server that were given the new address and nothing else."""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path
from typing import Any

from django.core import signing
from twisted.internet.threads import deferToThread

from logui_tx.errors import KeysUnusable
from logui_tx.web.client import Closed
from tests.integration.logui05 import LogUI05TestCase
from tests.integration.postgres import PostgreSQL
from tests.integration.process import logui
from tests.integration.served import Client
from tests.logui05 import events, handshake, item
from tests.released_server import ReleasedServer, download, logged, stamp

KEY, OTHER = "n0t-a-secret(any=more)$&x2k!", "another-old-key-of-somebody"
SALT = "django.core.signing"


def claims(application: str, flight: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "logUI-authorisation-object",
        "applicationID": application,
        "flightID": flight,
        **more,
    }


def signed(told: Any, key: str = KEY, salt: str = SALT, algorithm: str = "sha256", **more: Any) -> str:
    """As ``django.core.signing.dumps`` does; before Django 3.1 the algorithm was sha1."""
    signer = signing.TimestampSigner(key=key, salt=salt, algorithm=algorithm, fallback_keys=[])
    return signer.sign_object(told, **more)


class MovedPagesTestCase(LogUI05TestCase):
    keys = f"{KEY}\n"

    def start(self, **more: Any) -> None:
        self.key_file = self.data_dir / "legacy.key"
        self.key_file.write_text(self.keys)
        super().start(legacy_secret_key_file=self.key_file, **more)

    def old_token(self, **more: Any) -> str:
        return signed(claims(self.application.id, self.flight.id), **more)

    async def end_of(self, token: str) -> Closed:
        client = await self.open()
        client.say(handshake(token))
        return await client.end()


class TokenTests(MovedPagesTestCase):
    async def test_accepted(self) -> None:
        """Of newer and older Django, compressed or not; and our own still are."""
        for token in (
            self.old_token(),
            self.old_token(algorithm="sha1"),
            self.old_token(compress=True),
            self.token,
        ):
            client = await self.shake_hands(await self.open(), authorisationToken=token)
            client.say(events(item()))
            await self.go(client)
            await self.ended(client.session)
        self.assertEqual([session.events for session in self.sessions()], [1] * 4)

    async def test_refused(self) -> None:
        unknown = "5cdfc67b-52a7-4c14-b743-a2f999ba546e"
        good = self.old_token()
        for token in (
            self.old_token(key=OTHER),
            self.old_token(salt="django.contrib.messages"),
            self.old_token(algorithm="sha512"),
            signed(claims(self.application.id, self.flight.id, type="session")),
            signed({"applicationID": self.application.id, "flightID": self.flight.id}),
            signed(claims(self.application.id, unknown)),
            signed(claims(unknown, self.flight.id)),
            signed(claims(self.application.id, 7)),
            signed([1]),
            signed(None),
            good[:-1],
            good.swapcase(),
            good.rpartition(":")[0],
            "",
            "::",
        ):
            end = await self.end_of(token)
            self.assertEqual(end.code, 4004, token)
            self.assertNotIn(KEY, end.reason)
        self.assertEqual(self.sessions(), [])

    async def test_a_bomb_is_not_even_unpacked(self) -> None:
        self.patch(zlib, "decompress", lambda *_: self.fail("the signature comes first"))
        packed = signing.b64_encode(zlib.compress(b"[" * 3_000_000)).decode()
        self.assertLess(len(packed), 4_096)
        self.assertEqual((await self.end_of(f".{packed}:1abcde:{'A' * 43}")).code, 4004)

    async def test_not_for_the_dialect_that_asks_for_a_version(self) -> None:
        client = await self.connect(origin="http://localhost")
        answer = await client.ask(
            {
                "payloadType": "LogUIHandshake",
                "clientDateTime": "2026-11-22T00:00:00Z",
                "appIdentifier": self.old_token(),
                "appSpecificLogData": {},
            }
        )
        self.assertEqual(answer["statusCode"], "400")
        self.assertIn("client version '0.5'", json.dumps(answer))


class WithoutKeyTests(LogUI05TestCase):
    async def test_refused(self) -> None:
        client = await self.open()
        client.say(handshake(signed(claims(self.application.id, self.flight.id))))
        self.assertEqual((await client.end()).code, 4004)

    async def test_a_server_that_has_no_key_does_not_start(self) -> None:
        await self.stop()
        error = self.assertRaises(KeysUnusable, self.start, legacy_secret_key_file=Path("/nowhere"))
        self.assertIn("/nowhere cannot be read", str(error))


class SeveralKeysTests(MovedPagesTestCase):
    keys = f"DEBUG=False\nSECRET_KEY='{KEY}'\nexport SECRET_KEY={OTHER}\nDATABASE_PASSWORD=not-a-key-of-it\n"

    async def test_of_an_env_file(self) -> None:
        for key, algorithm in ((KEY, "sha256"), (OTHER, "sha1")):
            token = self.old_token(key=key, algorithm=algorithm)
            await self.shake_hands(await self.open(), authorisationToken=token)
        for key in ("not-a-key-of-it", "False"):
            self.assertEqual((await self.end_of(self.old_token(key=key))).code, 4004)


class MoveTests(MovedPagesTestCase):
    """The old server is imported a moment after it stopped; its pages come back here."""

    def setUp(self) -> None:
        super().setUp()
        self.postgresql = PostgreSQL()
        self.addCleanup(self.postgresql.remove)
        self.postgresql.start()
        self.old = ReleasedServer(self.postgresql.new_database())
        self.application_id = self.old.application("Old study")
        self.flight_id = self.old.flight(self.application_id, "Old pilot", "localhost")
        self.now = int(time.time() * 1000)
        self.past = self.old.session(self.flight_id, self.now - 60_000)
        self.download = self.data_dir / "download.log"
        self.entries = [self.entry(n) for n in range(1, 16)]

    def entry(self, n: int) -> dict[str, Any]:
        times = {"eventTimestamp": stamp(self.now - 30_000 + n)}
        return logged(self.application_id, self.flight_id, self.past, n, timestamps=times)

    async def bring(self) -> dict[str, Any]:
        self.download.write_text(download(self.entries))
        database = ("--database", self.old.uri, "--mongo-export", str(self.download), "--json")
        done = await deferToThread(logui, self.data_dir, "import-logui", *database)
        return json.loads(done.stdout)

    async def come_back(self) -> Client:
        token = signed(claims(self.application_id, self.flight_id), algorithm="sha1")
        return await self.shake_hands(await self.open(), authorisationToken=token, sessionID=self.past)

    async def records(self) -> list[dict[str, Any]]:
        done = await deferToThread(logui, self.data_dir, "export", "--flight", self.flight_id)
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def test_a_session_goes_on(self) -> None:
        await self.stop()
        self.assertEqual((await self.bring())["events"]["imported"], 15)
        self.start()
        client = await self.come_back()
        self.assertEqual(client.session, self.past)
        self.assertFalse(client.welcome["payload"]["newSessionCreated"])
        self.assertEqual(client.welcome["payload"]["clientStartTimestamp"], stamp(self.now - 60_000))
        client.say(events(item(eventDetails={"n": "here"})))
        await self.go(client)
        await self.ended(self.past)
        await self.stop()

        before = await self.records()
        self.assertEqual([record["event"]["eventDetails"]["n"] for record in before], [*range(1, 16), "here"])
        self.assertEqual([record["seq"] for record in before], list(range(1, 17)))
        (session,) = (each for each in self.sessions() if each.id == self.past)

        self.assertEqual((await self.bring())["events"]["there"], 15)
        self.assertEqual(await self.records(), before)
        self.assertIn(session, self.sessions())

        # The old server had taken more than the first import saw.
        self.entries.append(self.entry(99))
        self.assertEqual((await self.bring())["events"]["imported"], 1)
        last = (await self.records())[-1]
        self.assertEqual((last["seq"], last["event"]), (17, self.entries[-1]))
        (after,) = (each for each in self.sessions() if each.id == self.past)
        self.assertEqual((after.ended_at, after.end_reason), (session.ended_at, session.end_reason))
        self.start()
        self.assertEqual((await self.come_back()).session, self.past)
