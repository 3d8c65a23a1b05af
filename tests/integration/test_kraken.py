"""PROTOCOL, section 3, LISTEN: what is said on the socket, over real connections."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from attrs import evolve
from twisted.internet.threads import deferToThread

from logui_tx.journal.writer import JournalWriter
from tests.integration.process import BIN, logui_json
from tests.integration.sessions import exported
from tests.integration.test_hostile_input import frame
from tests.integration.visitors import START, VisitedTestCase, move

BAD = {"type": 99, "timestamp": 1}


def ack(stored: int) -> dict[str, Any]:
    return {"type": "ack", "stored": stored}


class KrakenTestCase(VisitedTestCase):
    async def assert_error(self, client: Any, message: Any, code: int, position: int | None = None) -> None:
        said = await client.ask(message)
        self.assertEqual((said["type"], said["code"], said.get("position")), ("error", code, position), said)
        self.assertTrue(said["message"])

    def exported(self) -> list[dict[str, Any]]:
        return list(exported(self.data_dir, self.flight.id))


class ListeningTests(KrakenTestCase):
    async def test_a_visit(self) -> None:
        client = await self.visit()
        self.assertEqual(await client.ask(move(1)), ack(1))
        self.assertEqual(await client.ask([move(2), move(3)]), ack(3))
        self.assertEqual(await client.ask([]), ack(3))
        self.assertEqual(
            await client.ask({"type": 9, "timestamp": "2026-11-22T00:00:00Z", "x": "\ud83d"}), ack(4)
        )
        client.say({"type": "close"})
        self.assertEqual((await client.end()).code, 1000)
        await self.ended(client.session)
        records = await deferToThread(self.exported)
        self.assertEqual([record["seq"] for record in records], [1, 2, 3, 4])
        self.assertEqual([record["event"] for record in records[:3]], [move(1), move(2), move(3)])
        self.assertEqual(records[0]["clientTime"], move(1)["timestamp"])
        self.assertEqual((records[0]["clockOffset"], records[0]["dialect"]), (None, "kraken"))

    async def test_what_the_session_list_shows(self) -> None:
        answer = await self.init()
        client = await self.enter(answer.json["ticket"], Referer="https://by.example/header")
        client.say(START)
        await client.ask(move(1))
        other = await self.enter(
            await self.ticket(), **{"User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/130.0"}
        )
        other.say({"type": "start"})
        await other.ask(move(1))
        first, second = await deferToThread(logui_json, self.data_dir, "session", "list")
        self.assertEqual(first["device"], {"os": "Macintosh", "browser": "Chrome"})
        self.assertEqual(second["device"], {"os": "Linux", "browser": "Firefox"})
        self.assertEqual(first["referrer"], "r")
        self.assertEqual((first["origin"], first["dialect"]), ("http://localhost:3000", "kraken"))
        self.assertEqual(len({first["visitorID"], second["visitorID"]} - {None}), 2)

    async def test_the_other_formats(self) -> None:
        client = await self.visit()
        await client.ask([move(1), move(2, target="a,b")])
        for form in ("csv", "logui"):
            command = [str(BIN / "logui"), "--data-dir", str(self.data_dir), "export", "--format", form]
            done = await deferToThread(
                subprocess.run, [*command, "--flight", self.flight.id], capture_output=True, check=True
            )
            self.assertTrue(done.stdout)

    async def test_all_or_nothing(self) -> None:
        client = await self.visit()
        await self.assert_error(client, [move(1), BAD, move(2)], 403, 1)
        await self.assert_error(client, [move(1), 5], 403, 1)
        await self.assert_error(client, BAD, 403)
        self.assertEqual(await client.ask(move(4)), ack(1))
        self.assertEqual([record["event"] for record in await deferToThread(self.exported)], [move(4)])

    async def test_too_many_events(self) -> None:
        await self.restart(max_events=2)
        client = await self.visit()
        self.assertEqual(await client.ask([move(1), move(2)]), ack(2))
        await self.assert_error(client, [move(1), move(2), move(3)], 401)

    async def test_answers_are_cumulative(self) -> None:
        """At most one for each commit, in order; what is exported is what was sent."""
        commits: list[int] = []
        commit = JournalWriter._commit

        def counted(writer: JournalWriter, *args: Any) -> Any:
            commits.append(1)
            return commit(writer, *args)

        self.patch(JournalWriter, "_commit", counted)
        client = await self.visit()
        began = len(commits)
        sent = [move(n) for n in range(1, 1001)]
        for event in sent:
            client.say(event)
        stored = [0]
        while stored[-1] < 1000:
            said = await client.hear()
            self.assertEqual(said, ack(said["stored"]))
            stored.append(said["stored"])
        self.assertEqual(stored, sorted(set(stored)))
        self.assertEqual(stored[-1], 1000)
        self.assertLessEqual(len(stored) - 1, len(commits) - began)
        self.assertLess(len(stored), 500)
        self.assertEqual([record["event"] for record in await deferToThread(self.exported)], sent)

    async def test_an_error_comes_after_what_was_before_it(self) -> None:
        client = await self.visit()
        for message in (move(1), move(2), BAD, move(3)):
            client.say(message)
        said = [await client.hear()]
        while said[-1] != ack(3):
            said.append(await client.hear())
        at = next(place for place, one in enumerate(said) if one["type"] == "error")
        self.assertEqual(said[at - 1], ack(2))

    async def test_many_connections_of_one_visitor(self) -> None:
        first = await self.visit()
        second = await self.visit()
        self.assertEqual(await first.ask(move(1)), ack(1))
        self.assertEqual(await second.ask(move(1)), ack(1))
        self.assertNotEqual(first.session, second.session)


class HitTests(KrakenTestCase):
    async def test_five(self) -> None:
        client = await self.visit()
        await self.assert_error(client, b"{", 401)
        await self.assert_error(client, START, 401)
        await self.assert_error(client, BAD, 403)
        self.assertEqual(await client.ask(move(1)), ack(1))
        await self.assert_error(client, [BAD], 403, 0)
        await self.assert_error(client, b"", 402)
        self.assertEqual((await client.end()).code, 1008)
        session = await self.ended(client.session)
        self.assertEqual((session.events, session.end_reason), (1, "badRequests"))

    async def test_before_the_start(self) -> None:
        client = await self.enter(await self.ticket())
        await self.assert_error(client, move(1), 401)
        await self.assert_error(client, [move(1)], 401)
        await self.assert_error(client, {"type": "close"}, 401)
        client.say(START)
        self.assertEqual(await client.ask(move(1)), ack(1))
        await self.assert_error(client, START, 401)
        await self.assert_error(client, START, 402)
        self.assertEqual((await client.end()).code, 1008)

    async def test_five_before_the_start(self) -> None:
        client = await self.enter(await self.ticket())
        for code in (401, 401, 401, 401, 402):
            await self.assert_error(client, b"?", code)
        client.say(START)
        self.assertEqual((await client.end()).code, 1008)
        self.assertEqual(self.sessions(), [])

    async def test_none_in_time(self) -> None:
        """Bad messages do not win time."""
        await self.restart(handshake_timeout=2)
        client = await self.enter(await self.ticket())
        await self.assert_error(client, b"?", 401)
        self.assertEqual((await client.hear())["code"], 401)
        self.assertEqual((await client.end()).code, 1008)

    async def test_in_one_breath(self) -> None:
        client = await self.enter(await self.ticket())
        for message in (move(1), START, START, move(2)):
            client.say(message)
        self.assertEqual([(await client.hear())["type"] for _ in range(3)], ["error", "error", "ack"])


class HostileTests(KrakenTestCase):
    async def test_messages(self) -> None:
        """Each is refused with 401 or 403, and nothing is logged or stored."""
        deep = b"[" * 100_000 + b"]" * 100_000
        for message in (
            b"\0",
            b'{"type":0\0}',
            b'{"type":"\\u0000"}',
            b'{"type":0,"timestamp":1,"event":{"X":NaN,"Y":1}}',
            b'{"type":0,"timestamp":1,"event":{"X":1e999,"Y":1}}',
            b'{"type":%b,"timestamp":1}' % (b"9" * 5000),
            b'{"type":9,"timestamp":%b}' % (b"9" * 5000),
            b'{"type":9,"timestamp":1,"x":%b}' % deep,
            deep,
            b"[" + b"null," * 500_000 + b"null]",
            b'{"__proto__":{"type":"start"}}',
        ):
            client = await self.visit()
            said = await client.ask(message)
            self.assertIn((said["type"], said["code"]), {("error", 401), ("error", 403)}, message[:99])
            self.assertLess(len(said["message"]), 300)
            self.assertEqual(await client.ask(move(1)), ack(1))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_binary(self) -> None:
        client = await self.visit()
        client.socket.send(json.dumps(move(1)).encode(), binary=True)
        self.assertEqual((await client.hear())["code"], 401)
        early = await self.enter(await self.ticket())
        early.socket.send(json.dumps(START).encode(), binary=True)
        self.assertEqual((await early.hear())["code"], 401)

    async def test_not_utf8(self) -> None:
        client = await self.visit()
        client.socket.send_raw(frame(b"\xff"))
        self.assertEqual((await client.end()).code, 1007)
        self.assertEqual((await self.ended(client.session)).end_reason, "badRequests")

    async def test_strange_values_are_kept_as_they_are(self) -> None:
        client = await self.visit()
        event = {"type": 0, "timestamp": 1, "event": {"X": 1e300, "Y": -0.5, "target": "\0<script>\u2028"}}
        self.assertEqual(await client.ask(event), ack(1))
        self.assertEqual((await deferToThread(self.exported))[0]["event"], event)

    async def test_a_device_that_is_no_device(self) -> None:
        meta = {"device": {"os": "\0'\"<b>" + "x" * 1000, "browser": "\u2028"}, "referrer": "\0"}
        client = await self.visit({"type": "start", "meta": meta})
        told = json.loads(self.session(client.session).device or "")
        self.assertEqual((len(told["os"]), told["browser"]), (128, "\u2028"))
        for agent in ("\xff\xfe", "Mozilla/5.0 (" + "x; " * 3000, "x" * 8000):
            client = await self.enter(await self.ticket(), **{"User-Agent": agent})
            client.say({"type": "start"})
            self.assertEqual(await client.ask(move(1)), ack(1))

    async def test_a_flood_is_not_read_faster_than_stored(self) -> None:
        await self.stop()
        self.start(limits=evolve(self.limits, max_unacknowledged=2000))
        client = await self.visit()
        for n in range(500):
            client.say([move(n)] * 10)
        said = await client.hear()
        while said != ack(5000):
            said = await client.hear()
