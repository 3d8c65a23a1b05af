"""What the released client 0.5.4 said in Chromium, said again: PROTOCOL, section 2."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from logui_tx.dialects import json_text
from tests.integration.logui05 import LogUI05TestCase, items_of
from tests.integration.served import Client

RECORDED = Path(__file__).parent.parent / "data" / "logui-0.5"
ORIGIN = "http://127.0.0.1:8098"
NAMES = ("abort", "dup", "early", "full", "idle", "odd", "resume", "unload")


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / f"{name}.jsonl").open(encoding="utf-8")]


class Played:
    """A conversation that is said again: its sockets, and what was sent.

    One that is not ``patient`` sends all before it hears anything.
    """

    def __init__(self, case: RecordedTests, patient: bool) -> None:
        self.case = case
        self.patient = patient
        self.clients: dict[int, Client] = {}
        self.sessions: dict[str, str] = {}
        self.sent: list[tuple[str, bytes]] = []

    async def play(self, line: dict[str, Any]) -> None:
        if line["dir"] == "in":
            self.say(self.clients[line["conn"]], line["text"])
        elif line["dir"] == "out":
            recorded = json.loads(line["text"])["payload"]
            if self.patient:
                await self.hear(self.clients[line["conn"]], recorded)
            else:
                self.unheard = recorded
        elif line["ev"] == "open":
            self.clients[line["conn"]] = await self.case.open(origin=ORIGIN)
        elif line["ev"] == "abort":
            self.clients[line["conn"]].socket.abort()
            await self.case.ended(self.clients[line["conn"]].session)
        elif line["code"] == 1005:
            if not self.patient:
                await self.hear(self.clients[line["conn"]], self.unheard)
            await self.case.go(self.clients[line["conn"]])

    def say(self, client: Client, text: str) -> None:
        told = json.loads(text)
        if told["type"] == "handshake":
            told["payload"]["authorisationToken"] = self.case.token
            if "sessionID" in told["payload"]:
                told["payload"]["sessionID"] = self.sessions[told["payload"]["sessionID"]]
            client.say(told)
        else:
            # As it was recorded: whoever it says that its session is.
            client.say(text.encode())
            self.sent += [(client.session, item) for item in items_of(text.encode())]

    async def hear(self, client: Client, recorded: dict[str, Any]) -> None:
        """The recorder's answer and ours tell the same, the time in another form."""
        told = await client.hear()
        self.case.assertEqual((told["sender"], told["type"]), ("logUIServer", "handshakeSuccess"))
        answer = told["payload"]
        client.session = answer["sessionID"]
        self.case.assertEqual(
            self.sessions.setdefault(recorded["sessionID"], answer["sessionID"]), answer["sessionID"]
        )
        start = recorded["clientStartTimestamp"].replace(" ", "T").replace("000+00:00", "Z")
        expected = {**recorded, "sessionID": answer["sessionID"], "clientStartTimestamp": start}
        self.case.assertEqual(answer, expected)


class RecordedTests(LogUI05TestCase):
    domains = ("127.0.0.1:8098",)

    async def play(self, name: str) -> Played:
        """Say it again; returns when all its sessions have ended."""
        played = Played(self, patient=name != "early")
        for line in lines(name):
            await played.play(line)
        for session in set(played.sessions.values()):
            self.assertEqual((await self.ended(session)).end_reason, "closed")
        return played

    async def test_all_are_there(self) -> None:
        self.assertEqual({path.stem for path in RECORDED.glob("*.jsonl")}, set(NAMES))

    async def test_each_item_comes_out_once_as_it_was_sent(self) -> None:
        sent: list[tuple[str, bytes]] = []
        for name in NAMES:
            if name != "early":
                sent += (await self.play(name)).sent
        self.assertEqual(len(sent), 252)
        records = await self.export()
        came = [(json.loads(record["sessionID"]), record["event"]) for record in records]
        self.assertEqual(Counter(came), Counter(sent))
        self.assertEqual(await self.download(), [self._entry(record) for record in records])
        times: dict[bytes, list[int]] = {}
        for record in records:
            event = record["event"]
            self.assertEqual(record["dialect"], b'"logui-0.5"')
            self.assertIn(record["clientTime"], self._milliseconds(event))
            times.setdefault(record["sessionID"], []).append(int(record["seq"]))
        for numbers in times.values():
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def _entry(self, record: dict[str, bytes]) -> dict[str, bytes]:
        """As the released server would let it be downloaded, and the data that was in force."""
        entry = json_text.members(record["event"])
        entry.update({key: record[key] for key in ("sessionID", "applicationID", "flightID")})
        if entry["applicationSpecificData"] != record["appSpecificLogData"]:
            entry["appSpecificLogData"] = record["appSpecificLogData"]
        return entry

    def _milliseconds(self, item: bytes) -> tuple[bytes]:
        from datetime import datetime

        stamp = json.loads(item)["timestamps"]["eventTimestamp"]
        return (str(round(datetime.fromisoformat(stamp).timestamp() * 1000)).encode(),)

    async def test_a_batch_before_the_answer(self) -> None:
        """Its items know no session, and count from 1970."""
        played = await self.play("early")
        (session,) = self.sessions()
        records = await self.export()
        self.assertEqual([record["event"] for record in records], [item for _, item in played.sent])
        self.assertEqual({record["sessionID"] for record in records}, {b'"%b"' % session.id.encode()})
        self.assertIsNone(json.loads(records[0]["event"])["sessionID"])

    async def test_two_sockets_on_one_session(self) -> None:
        played = await self.play("dup")
        (session,) = self.sessions()
        self.assertEqual(set(played.sessions.values()), {session.id})
        self.assertEqual(session.events, 28)
        told = [event["eventDetails"].get("type") for _, event, _ in self.stored()]
        self.assertEqual((told.count("started"), told.count("stopped")), (2, 2))

    async def test_data_that_was_updated(self) -> None:
        """The items before the marker were made under the data of the batch before; they say otherwise."""
        await self.play("full")
        records = await self.export()
        data = [json.loads(record["appSpecificLogData"]) for record in records]
        sent = [json.loads(record["event"])["applicationSpecificData"] for record in records]
        old = {"userID": "user-26", "condition": 3, "rotation": 1, "nested": {"a": [1, 2.5, None, True]}}
        new = {"userID": "user-26", "condition": 4, "nested": {"a": [1, 2.5, None, True]}, "extra": "new"}
        self.assertEqual(sent, [old] * 70 + [new] * 11)
        self.assertEqual(data, [old] * 78 + [new] * 3)

    async def test_the_client_is_known(self) -> None:
        await self.play("unload")
        (session,) = self.sessions()
        self.assertIn("HeadlessChrome", session.user_agent or "")
        self.assertEqual((session.origin, session.dialect), (ORIGIN, "logui-0.5"))
        self.assertEqual(session.client_started_at, 1_795_306_234_668)
