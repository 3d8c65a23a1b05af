"""PROTOCOL, section 1, *Listening*: application-specific data, in force from the right event on."""

from __future__ import annotations

from typing import Any

from logui_tx.model import Limits
from tests.integration.served import Client, ServedTestCase, payload

CHANGED = {"responseType": "LogUIAppSpecificLogDataChangeSuccess", "statusCode": "201"}


def change(**data: Any) -> dict[str, Any]:
    return {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": data}


class AppDataTests(ServedTestCase):
    async def data_now(self, client: Client) -> dict[str, Any]:
        """What an event that is sent now is stored with."""
        await client.events(0)
        return self.stored(client.session)[-1][2]

    async def test_keys_are_set_changed_and_deleted_by_null(self) -> None:
        client = await self.greet(appSpecificLogData={"user": 1, "gone": "x", "none": None})
        self.assertEqual(await self.data_now(client), {"user": 1, "gone": "x"})
        for said, then in (
            (change(page="home"), {"user": 1, "gone": "x", "page": "home"}),
            (change(user={"id": [2]}), {"user": {"id": [2]}, "gone": "x", "page": "home"}),
            (change(gone=None), {"user": {"id": [2]}, "page": "home"}),
            (change(never_there=None), {"user": {"id": [2]}, "page": "home"}),
            (change(), {"user": {"id": [2]}, "page": "home"}),
            (
                change(user=None, page=None, new=False, zero=0, empty=""),
                {"new": False, "zero": 0, "empty": ""},
            ),
            (change(new=None, zero=None, empty=None), {}),
        ):
            self.assertEqual(await client.ask(said), CHANGED)
            self.assertEqual(await self.data_now(client), then)

    async def test_null_inside_a_value_deletes_nothing(self) -> None:
        client = await self.greet(appSpecificLogData={"a": {"b": 1}})
        await client.ask(change(a={"b": None}, c=[None]))
        self.assertEqual(await self.data_now(client), {"a": {"b": None}, "c": [None]})

    async def test_null_with_space_around_it_and_of_equal_keys_the_last(self) -> None:
        client = await self.greet(appSpecificLogData={"a": 1, "b": 1})
        answer = await client.ask(
            b'{"payloadType":"LogUIAppSpecificLogDataChange",'
            b'"appSpecificLogData":{ "a" :\n null\t, "b":null, "b": 2 ,"\\u0061b":3}}'
        )
        self.assertEqual(answer, CHANGED)
        self.assertEqual(await self.data_now(client), {"b": 2, "ab": 3})

    async def test_events_before_keep_the_old_values_and_events_after_carry_the_new(self) -> None:
        client = await self.greet(appSpecificLogData={"n": -1})
        for n in range(50):
            client.say(payload(n))
            client.say(change(n=n))
        for _ in range(100):
            self.assertEqual((await client.hear())["statusCode"], "201")
        self.assertEqual(
            [(s, e["n"], d) for s, e, d in self.stored(client.session)],
            [(n + 1, n, {"n": n - 1}) for n in range(50)],
        )

    async def test_the_acknowledged_change_is_in_the_journal(self) -> None:
        client = await self.greet()
        await client.ask(change(a=1))
        self.assertEqual(self.session(client.session).app_data, b'{"a":1}')

    async def test_a_change_holds_for_all_sockets_of_the_session(self) -> None:
        one = await self.greet(appSpecificLogData={"a": 1})
        two = await self.greet(sessionIdentifier=one.session, appSpecificLogData={"b": 2})
        self.assertEqual(two.session, one.session)
        self.assertEqual(await self.data_now(one), {"a": 1, "b": 2})
        await two.ask(change(a=None, c=3))
        self.assertEqual(await self.data_now(one), {"b": 2, "c": 3})
        self.assertEqual(await self.data_now(two), {"b": 2, "c": 3})

    async def test_other_sessions_do_not_see_it(self) -> None:
        one, two = await self.greet(appSpecificLogData={"a": 1}), await self.greet()
        await one.ask(change(b=2))
        self.assertEqual(await self.data_now(two), {})

    async def test_lone_surrogates_in_values_are_kept(self) -> None:
        """``JSON.stringify`` writes a text cut through an emoji so."""
        client = await self.greet(appSpecificLogData={"cut": "caf\u00e9 \ud83d", "whole": "😀"})
        await client.ask(change(other=["\udc00"]))
        self.assertEqual(
            await self.data_now(client),
            {"cut": "caf\u00e9 \ud83d", "whole": "😀", "other": ["\udc00"]},
        )
        again = await self.greet(sessionIdentifier=client.session)
        self.assertEqual((await self.data_now(again))["cut"], "caf\u00e9 \ud83d")

    async def test_ill_typed_changes_are_401_and_change_nothing(self) -> None:
        why = "'appSpecificLogData' must be an object."
        missing = await self.greet(appSpecificLogData={"a": 1})
        answer = await missing.ask({"payloadType": "LogUIAppSpecificLogDataChange"})
        self.assertEqual(answer["responseType"], "LogUIBadRequest")
        self.assertEqual(answer["errorDetails"]["errorString"], "The change lacks 'appSpecificLogData'.")
        for value in (None, 1, "{}", [], [["a", 2]], True):
            client = await self.greet(appSpecificLogData={"a": 1})
            answer = await client.ask({**change(), "appSpecificLogData": value})
            self.assertEqual((answer["statusCode"], answer["errorDetails"]["errorString"]), ("401", why))
            self.assertFalse(answer["errorDetails"]["terminate"])
            self.assertEqual(await self.data_now(client), {"a": 1})


class TooMuchTests(ServedTestCase):
    limits = Limits(max_app_data=100, drain_timeout=0.2)

    async def test_too_much_is_401_and_changes_nothing(self) -> None:
        """The limit is on what would be in force, not on what is said."""
        client = await self.greet(appSpecificLogData={"a": "x" * 80})
        answer = await client.ask(change(a="y", b="z" * 95))
        self.assertEqual((answer["statusCode"], answer["errorDetails"]["terminate"]), ("401", False))
        self.assertEqual(
            answer["errorDetails"]["errorString"],
            "The application-specific data would take 111 bytes; at most 100 are allowed.",
        )
        self.assertEqual((await client.ask(change(c="z" * 20)))["statusCode"], "401")
        await client.events(1)
        self.assertEqual(await client.ask(change(a=None, c="z" * 90)), CHANGED)
        await client.events(2)
        self.assertEqual([d for _, _, d in self.stored()], [{"a": "x" * 80}, {"c": "z" * 90}])

    async def test_a_resume_that_would_make_it_too_much_is_refused_and_changes_nothing(self) -> None:
        client = await self.greet(appSpecificLogData={"a": "x" * 80})
        other = await self.connect()
        answer = await other.ask(
            self.hello(sessionIdentifier=client.session, appSpecificLogData={"b": "y" * 80})
        )
        self.assertEqual(answer["statusCode"], "400")
        self.assertEqual((await other.end()).code, 1008)
        await client.events(1)
        self.assertEqual([d for _, _, d in self.stored()], [{"a": "x" * 80}])
        self.assertEqual(len(self.sessions()), 1)
