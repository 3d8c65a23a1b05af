"""PROTOCOL, section 1, *Sending twice*: sent again, it is stored once; refused, it can come again."""

from __future__ import annotations

import sqlite3
from typing import Any

from twisted.internet import reactor
from twisted.web.client import Agent, readBody

from tests.integration.served import Client, ServedTestCase, payload


def change(**data: Any) -> dict[str, Any]:
    return {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": data}


class TwiceTestCase(ServedTestCase):
    def numbers(self, session: str | None = None) -> list[tuple[int, int]]:
        return [(seq, event["n"]) for seq, event, _ in self.stored(session)]

    async def acknowledged(self, client: Client, *events: Any, **more: Any) -> None:
        """201, which echoes the id."""
        expected = {"responseType": "LogUIEventPayloadSuccess", "statusCode": "201"}
        if "payloadID" in more:
            expected["payloadID"] = more["payloadID"]
        self.assertEqual(await client.events(*events, **more), expected)

    async def resume(self, client: Client, **more: Any) -> Client:
        return await self.greet(sessionIdentifier=client.session, **more)

    async def restart(self) -> None:
        await self.stop()
        self.start()


class RepeatTests(TwiceTestCase):
    async def test_a_repeat_is_acknowledged_and_not_stored_again(self) -> None:
        client = await self.greet()
        await self.acknowledged(client, 1, payloadID=1)
        await self.acknowledged(client, 1, payloadID=1)
        await self.acknowledged(client, 2, payloadID=2)
        await self.acknowledged(client, 1, payloadID=1)
        await self.acknowledged(client, 3)
        self.assertEqual(self.numbers(), [(1, 1), (2, 2), (3, 3)])

    async def test_a_repeat_in_the_same_breath_waits_for_the_first(self) -> None:
        client = await self.greet()
        for n in (1, 1, 2, 1, 2, 3, 3):
            client.say(payload(n, payloadID=n))
        self.assertEqual([(await client.hear())["payloadID"] for _ in range(7)], [1, 1, 2, 1, 2, 3, 3])
        self.assertEqual(self.numbers(), [(1, 1), (2, 2), (3, 3)])

    async def test_across_reconnects_restarts_and_sockets(self) -> None:
        client = await self.greet(clientInstance="i")
        await self.acknowledged(client, 1, payloadID=1)
        again = await self.resume(client, clientInstance="i")
        await self.acknowledged(again, 1, payloadID=1)
        await self.acknowledged(again, 2, payloadID=2)
        await self.acknowledged(client, 2, payloadID=2)
        await self.restart()
        again = await self.resume(client, clientInstance="i")
        await self.acknowledged(again, 2, payloadID=2)
        await self.acknowledged(again, 3, payloadID=3)
        self.assertEqual(self.numbers(), [(1, 1), (2, 2), (3, 3)])

    async def test_without_an_id_all_is_stored(self) -> None:
        client = await self.greet()
        await self.acknowledged(client, 1)
        await self.acknowledged(client, 1)
        self.assertEqual(self.numbers(), [(1, 1), (2, 1)])

    async def test_gaps_are_allowed(self) -> None:
        client = await self.greet()
        for n in (3, 10, 7, 2**53 - 1, 11):
            await self.acknowledged(client, n % 100, payloadID=n)
        self.assertEqual([n for _, n in self.numbers()], [3, 10, (2**53 - 1) % 100])

    async def test_an_empty_payload_counts(self) -> None:
        client = await self.greet()
        await self.acknowledged(client, payloadID=2)
        await self.acknowledged(client, 1, payloadID=2)
        again = await self.resume(client)
        self.assertEqual(again.welcome["lastPayloadID"], 2)
        self.assertEqual(self.numbers(), [])

    async def test_a_refused_payload_does_not_count(self) -> None:
        client = await self.greet()
        await self.acknowledged(client, 1, payloadID=1)
        self.assertEqual((await client.events(None, payloadID=2))["statusCode"], "403")
        self.assertEqual((await client.events(1, payloadID=3, session="x"))["statusCode"], "401")
        again = await self.resume(client)
        self.assertEqual(again.welcome["lastPayloadID"], 1)
        await self.acknowledged(client, 4, payloadID=4)
        self.assertEqual(self.numbers(), [(1, 1), (2, 4)])

    async def test_an_ill_typed_id_is_401(self) -> None:
        for value in (0, -1, 1.5, "1", True, None, 2**53, 2**60, 10**400, [], {}):
            client = await self.greet()
            answer = await client.events(1, payloadID=value)
            self.assertEqual((answer["responseType"], answer["statusCode"]), ("LogUIBadRequest", "401"))
            self.assertNotIn("payloadID", answer)
            self.assertEqual(
                answer["errorDetails"]["errorString"],
                "'payloadID' must be an integer from 1 to 9007199254740991.",
            )
        self.assertEqual(self.stored(), [])


class InstanceTests(TwiceTestCase):
    async def test_every_page_load_counts_by_itself(self) -> None:
        """A duplicated tab copies the session and its ids."""
        one = await self.greet(clientInstance="one")
        two = await self.resume(one, clientInstance="two")
        none = await self.resume(one)
        for n, client in enumerate((one, two, none)):
            self.assertEqual(client.welcome["lastPayloadID"], 0)
            await self.acknowledged(client, n, payloadID=1)
            await self.acknowledged(client, n, payloadID=1)
        self.assertEqual(self.numbers(), [(1, 0), (2, 1), (3, 2)])

    async def test_last_payload_id_is_the_instances(self) -> None:
        one = await self.greet(clientInstance="one")
        await self.acknowledged(one, 1, payloadID=5)
        for restart in (False, True):
            if restart:
                await self.restart()
            for instance, last in (("one", 5), ("two", 0), (None, 0), ("", 0), ("ONE", 0)):
                again = await self.resume(one, clientInstance=instance)
                self.assertEqual(again.welcome["lastPayloadID"], last, instance)

    async def test_a_payload_may_carry_the_instance_of_an_earlier_page_load(self) -> None:
        one = await self.greet(clientInstance="one")
        await self.acknowledged(one, 1, payloadID=1)
        two = await self.resume(one, clientInstance="two")
        await self.acknowledged(two, 2, payloadID=1)
        await self.acknowledged(two, 1, payloadID=1, clientInstance="one")
        await self.acknowledged(two, 3, payloadID=2, clientInstance="one")
        await self.acknowledged(two, 3, payloadID=2, clientInstance="one")
        await self.acknowledged(two, 4, payloadID=2)
        self.assertEqual(self.numbers(), [(1, 1), (2, 2), (3, 3), (4, 4)])
        self.assertEqual((await self.resume(one, clientInstance="one")).welcome["lastPayloadID"], 2)

    async def test_the_empty_instance_is_the_absent_one(self) -> None:
        one = await self.greet(clientInstance="")
        await self.acknowledged(one, 1, payloadID=1)
        two = await self.resume(one, clientInstance="two")
        await self.acknowledged(two, 1, payloadID=1, clientInstance="")
        self.assertEqual(self.numbers(), [(1, 1)])

    async def test_an_ill_typed_instance_is_401(self) -> None:
        for value in (None, 1, [], {}, True, "x" * 129, "\ud83d"):
            client = await self.greet()
            answer = await client.events(1, payloadID=1, clientInstance=value)
            self.assertEqual(answer["statusCode"], "401", value)
        self.assertEqual(self.stored(), [])

    async def test_other_sessions_count_by_themselves(self) -> None:
        one, two = await self.greet(clientInstance="i"), await self.greet(clientInstance="i")
        await self.acknowledged(one, 1, payloadID=1)
        await self.acknowledged(two, 1, payloadID=1)
        self.assertEqual(len(self.stored()), 2)


class NotStoredTests(TwiceTestCase):
    """The disk is full: nothing is lost, nothing is stored twice, and it mends itself."""

    def fill_disk(self) -> None:
        def full(*_entries: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        journal = self.service._parts.journal
        journal._commit = full
        journal._probe = lambda: None

    def free_disk(self) -> None:
        journal = self.service._parts.journal
        del journal._commit, journal._probe

    async def refused(self, client: Client, *events: Any, **more: Any) -> None:
        answer = await client.events(*events, **more)
        self.assertEqual((answer["responseType"], answer["statusCode"]), ("LogUIServerError", "500"))
        self.assertEqual(answer.get("payloadID"), more.get("payloadID"))
        self.assertIs(answer["errorDetails"]["terminate"], False)
        self.assertTrue(answer["errorDetails"]["errorString"].startswith("The events could not be stored: "))

    async def health(self) -> tuple[int, str]:
        response = await Agent(reactor).request(b"GET", f"http://127.0.0.1:{self.port}/healthz".encode())
        return response.code, (await readBody(response)).decode()

    async def test_nothing_is_stored_and_the_numbers_have_no_gap_afterwards(self) -> None:
        client = await self.greet()
        await self.acknowledged(client, 1)
        self.fill_disk()
        await self.refused(client, 2, 3)
        await self.refused(client, 4, payloadID=1)
        self.free_disk()
        await self.acknowledged(client, 4, payloadID=1)
        await self.acknowledged(client, 5)
        self.assertEqual(self.numbers(), [(1, 1), (2, 4), (3, 5)])

    async def test_later_ids_get_500_until_the_refused_one_is_stored(self) -> None:
        client = await self.greet()
        await self.acknowledged(client, 1, payloadID=1)
        self.fill_disk()
        await self.refused(client, 2, payloadID=2)
        await self.acknowledged(client, 1, payloadID=1)
        self.free_disk()
        await self.refused(client, 3, payloadID=3)
        await self.acknowledged(client, 9)
        await self.acknowledged(client, 2, payloadID=2)
        await self.refused(client, 5, payloadID=5)
        await self.acknowledged(client, 3, payloadID=3)
        await self.acknowledged(client, 5, payloadID=5)
        await self.acknowledged(client, 5, payloadID=5)
        self.assertEqual([n for _, n in self.numbers()], [1, 9, 2, 3, 5])

    async def test_a_restart_does_not_forget_what_was_refused(self) -> None:
        """*This holds across reconnects, server restarts*."""
        client = await self.greet(clientInstance="tab")
        await client.events(1, payloadID=1)
        self.fill_disk()
        self.assertEqual((await client.events(2, payloadID=2))["statusCode"], "500")
        self.free_disk()
        await self.stop()
        self.start()
        again = await self.greet(clientInstance="tab", sessionIdentifier=client.session)
        self.assertEqual((again.session, again.welcome["lastPayloadID"]), (client.session, 1))
        self.assertEqual((await again.events(3, payloadID=3))["statusCode"], "500")
        self.assertEqual((await again.events(2, payloadID=2))["statusCode"], "201")
        self.assertEqual((await again.events(3, payloadID=3))["statusCode"], "201")
        self.assertEqual([e["n"] for _, e, _ in self.stored(client.session)], [1, 2, 3])

    async def test_a_pipeline_is_refused_as_a_whole_and_stored_in_order(self) -> None:
        client = await self.greet()
        self.fill_disk()
        for n in range(1, 31):
            client.say(payload(n, payloadID=n))
        self.assertEqual([(await client.hear())["statusCode"] for _ in range(30)], ["500"] * 30)
        self.free_disk()
        for n in range(1, 31):
            client.say(payload(n, payloadID=n))
        self.assertEqual([(await client.hear())["statusCode"] for _ in range(30)], ["201"] * 30)
        self.assertEqual(self.numbers(), [(n, n) for n in range(1, 31)])

    async def test_it_holds_for_the_instance_only_and_across_sockets(self) -> None:
        one = await self.greet(clientInstance="one")
        two = await self.resume(one, clientInstance="two")
        self.fill_disk()
        await self.refused(one, 1, payloadID=1)
        self.free_disk()
        await self.acknowledged(two, 10, payloadID=2)
        again = await self.resume(one, clientInstance="one")
        self.assertEqual(again.welcome["lastPayloadID"], 0)
        await self.refused(again, 2, payloadID=2)
        await self.acknowledged(again, 1, payloadID=1)
        await self.acknowledged(again, 2, payloadID=2)

    async def test_a_change_that_is_refused_is_not_in_force(self) -> None:
        client = await self.greet(appSpecificLogData={"a": 1})
        self.fill_disk()
        answer = await client.ask(change(a=2))
        self.assertEqual((answer["statusCode"], answer["errorDetails"]["terminate"]), ("500", False))
        self.free_disk()
        await self.acknowledged(client, 1)
        await client.ask(change(a=3))
        await self.acknowledged(client, 2)
        self.assertEqual([d for _, _, d in self.stored()], [{"a": 1}, {"a": 3}])

    async def test_a_handshake_is_accepted_and_its_data_survives(self) -> None:
        self.fill_disk()
        client = await self.greet(appSpecificLogData={"a": 1}, clientInstance="i")
        await self.refused(client, 1, payloadID=1)
        self.assertEqual(self.sessions(), [])
        self.free_disk()
        await self.acknowledged(client, 1, payloadID=1)
        self.assertEqual([(s, e["n"], d) for s, e, d in self.stored(client.session)], [(1, 1, {"a": 1})])

    async def test_a_resumes_data_survives_too(self) -> None:
        client = await self.greet(appSpecificLogData={"a": 1})
        self.fill_disk()
        again = await self.resume(client, appSpecificLogData={"b": 2})
        await self.refused(again, 1)
        self.free_disk()
        await self.acknowledged(client, 2)
        self.assertEqual([d for _, _, d in self.stored()], [{"a": 1, "b": 2}])

    async def test_a_farewell_that_is_refused_is_no_farewell(self) -> None:
        client = await self.greet()
        self.fill_disk()
        await self.refused(client, 1, session="leavingPage", payloadID=1)
        self.free_disk()
        client.say(payload(1, session="leavingPage", payloadID=1))
        self.assertEqual((await client.end()).code, 1000)
        session = await self.ended(client.session)
        self.assertEqual((session.events, session.end_reason), (1, "leavingPage"))

    async def test_a_session_that_ended_meanwhile_is_ended_when_there_is_room(self) -> None:
        client = await self.greet()
        await self.acknowledged(client, 1)
        self.fill_disk()
        client.socket.close()
        await client.end()
        await self.until(lambda: self.service._parts.journal.failing)
        self.assertIsNone(self.session(client.session).ended_at)
        self.free_disk()
        self.assertEqual((await self.ended(client.session)).end_reason, "closed")

    async def test_health_is_red_while_it_fails_and_green_again_by_itself(self) -> None:
        client = await self.greet()
        self.assertEqual((await self.health())[0], 200)
        self.fill_disk()
        await self.refused(client, 1)
        status, text = await self.health()
        self.assertEqual(status, 503)
        self.assertIn("database or disk is full", text)
        self.assertNotIn(str(self.data_dir), text)
        self.free_disk()
        while (await self.health())[0] != 200:
            pass
        await self.acknowledged(client, 1)

    async def test_a_full_database_is_a_full_disk(self) -> None:
        """The same with SQLite's own word for it, and the journal's own probe."""
        client = await self.greet()
        connection = self.service._parts.journal._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        noise = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(50_000))
        await self.refused(client, {"clientDateTime": 1, "n": 1, "noise": noise}, payloadID=1)
        self.assertEqual((await self.health())[0], 503)
        connection.execute("PRAGMA max_page_count = 1000000")
        while (await self.health())[0] != 200:
            pass
        await self.acknowledged(client, 1, payloadID=1)
        self.assertEqual(self.numbers(), [(1, 1)])
