"""PROTOCOL, section 1, *Resume* and *Sending twice*, across servers that share a Redis."""

from __future__ import annotations

from twisted.internet.threads import deferToThread

from logui_tx.numbers import BLOCK
from logui_tx.registry import live
from tests.integration.process import logui
from tests.integration.served import payload
from tests.integration.two_servers import TwoServersTestCase, jumps

FIRST_OF_B = BLOCK + 1


class HandOverTests(TwoServersTestCase):
    async def test_a_session_that_ended_goes_on_elsewhere_as_if_nothing_was(self) -> None:
        client = await self.greet_at("a", clientInstance="tab", appSpecificLogData={"user": "u", "step": 1})
        await client.events(1, 2, payloadID=1)
        await client.ask(
            {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": {"step": 2, "more": True}}
        )
        await client.events(3, payloadID=2)
        client.socket.close(1000)
        await self.rested("a", client.session)
        again = await self.greet_at(
            "b", client.session, clientInstance="tab", appSpecificLogData={"more": None}
        )
        self.assertEqual((again.session, again.welcome["lastPayloadID"]), (client.session, 2))
        self.assertEqual((await again.events(3, payloadID=2))["statusCode"], "201")
        await again.events(4, 5, payloadID=3)
        before = {"user": "u", "step": 1}
        self.assertEqual(
            self.stored_at("a", client.session),
            [(1, 1, before), (2, 2, before), (3, 3, {"user": "u", "step": 2, "more": True})],
        )
        after = {"user": "u", "step": 2}
        self.assertEqual(self.stored_at("b", client.session), [(4, 4, after), (5, 5, after)])
        self.assertEqual(jumps(self.folders["b"]), [])

    async def test_back_again(self) -> None:
        session = None
        for n, name in enumerate("abbaab"):
            client = await self.greet_at(name, session, clientInstance="tab")
            session = client.session
            self.assertEqual(client.welcome["lastPayloadID"], n)
            await client.events(n, payloadID=n + 1)
            client.socket.close(1000)
            await self.rested(name, session)
        assert session is not None
        numbers = {name: [(seq, n) for seq, n, _ in self.stored_at(name, session)] for name in "ab"}
        self.assertEqual(numbers, {"a": [(1, 0), (4, 3), (5, 4)], "b": [(2, 1), (3, 2), (6, 5)]})

    async def test_the_connection_that_nobody_closed_is_ended(self) -> None:
        client = await self.greet_at("a", clientInstance="tab")
        await client.events(1, payloadID=1)
        client.say(payload(2, payloadID=2))
        again = await self.greet_at("b", client.session, clientInstance="tab")
        self.assertEqual(again.welcome["lastPayloadID"], 2)
        await again.events(2, payloadID=2)
        await again.events(3, payloadID=3)
        self.assertEqual((await client.hear())["statusCode"], "201")
        self.assertEqual((await client.end()).code, 1006)
        numbers = [[(seq, n) for seq, n, _ in self.stored_at(name, client.session)] for name in "ab"]
        self.assertEqual(numbers, [[(1, 1), (2, 2)], [(3, 3)]])

    async def test_not_after_shutdown_client_nor_for_another_flight(self) -> None:
        client = await self.greet_at("a")
        client.say(payload(1, session="shutdownClient"))
        await client.end()
        await self.rested("a", client.session)
        self.assertNotEqual((await self.greet_at("b", client.session)).session, client.session)
        other = self.registry.create_flight(self.application.id, "Other", self.domains)
        victim = await self.greet_at("a", clientInstance="tab")
        stranger = await self.greet_at(
            "b", victim.session, clientInstance="tab", appIdentifier=self.signer.issue(other)
        )
        self.assertNotEqual(stranger.session, victim.session)
        self.assertEqual((await victim.events(1))["statusCode"], "201")

    async def test_what_was_refused_here_is_owed_there(self) -> None:
        client = await self.greet_at("a", clientInstance="tab")
        await client.events(1, payloadID=1)
        await client.events(3, payloadID=3)
        client.socket.close(1000)
        await self.rested("a", client.session)
        again = await self.greet_at("b", client.session, clientInstance="tab")
        self.assertEqual(again.welcome["lastPayloadID"], 3)


class DuplicatedTabTests(TwoServersTestCase):
    async def test_no_number_twice_and_the_same_data(self) -> None:
        one = await self.greet_at("a", clientInstance="one")
        await one.events(1, payloadID=1)
        two = await self.greet_at("b", one.session, clientInstance="two")
        self.assertEqual((two.session, two.welcome["lastPayloadID"]), (one.session, 0))
        for n in range(2, 30):
            await one.events(n, payloadID=n)
            await two.events(-n, payloadID=n)
        change = {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": {"x": 1}}
        self.assertEqual((await one.ask(change))["statusCode"], "201")
        live = self.services["b"]._parts.intake.live[one.session]
        await self.until(lambda: live.committed.app_data.encoded == b'{"x":1}')
        await two.events(-30, payloadID=30)
        here, there = self.stored_at("a", one.session), self.stored_at("b", one.session)
        self.assertEqual([(seq, n) for seq, n, _ in here], [(n, n) for n in range(1, 30)])
        self.assertEqual([(seq, n) for seq, n, _ in there], [(FIRST_OF_B + n - 2, -n) for n in range(2, 31)])
        self.assertEqual((there[-2][2], there[-1][2]), ({}, {"x": 1}))
        self.assertEqual(jumps(self.folders["b"]), [FIRST_OF_B])

    async def test_changes_on_both_converge(self) -> None:
        one = await self.greet_at("a", clientInstance="one")
        two = await self.greet_at("b", one.session, clientInstance="two")
        for client, value in ((one, 1), (two, 2), (one, 3), (two, 4)):
            client.say({"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": {"x": value}})
        for client in (one, one, two, two):
            if client is one or client is two:
                await client.hear()
        live = [self.services[name]._parts.intake.live[one.session] for name in "ab"]
        await self.until(lambda: live[0].committed.app_data == live[1].committed.app_data)

    async def test_a_third_comes_and_the_others_stay(self) -> None:
        one = await self.greet_at("a", clientInstance="one")
        two = await self.greet_at("b", one.session, clientInstance="two")
        three = await self.greet_at("b", one.session, clientInstance="three")
        four = await self.greet_at("a", one.session, clientInstance="four")
        for number, client in enumerate((one, two, three, four)):
            self.assertEqual(client.session, one.session)
            self.assertEqual((await client.events(number, payloadID=1))["statusCode"], "201")
        seqs = [seq for name in "ab" for seq, _, _ in self.stored_at(name, one.session)]
        self.assertEqual(len(set(seqs)), 4)


class FlightSwitchTests(TwoServersTestCase):
    async def test_told_by_the_command(self) -> None:
        # They would not look for themselves.
        self.patch(live, "_MAX_AGE", 3_600)
        for name in "ab":
            await (await self.greet_at(name)).events(1)
        shared = {key.replace("_", "-"): value for key, value in self.shared().items()}
        options = [f"--{key}={value}" for key, value in shared.items()]
        for command, status in (("disable", "400"), ("enable", "200")):
            arguments = [*options, "flight", command, self.flight.id]
            done = await deferToThread(logui, self.folders["b"], *arguments)
            self.assertEqual(done.stderr, "")
            for name in "ab":
                self.port = self.ports[name]
                answer = None
                while answer != status:
                    answer = (await (await self.connect()).ask(self.hello()))["statusCode"]

    async def test_without_a_store_that_answers_it_says_so(self) -> None:
        self.redis.stop()
        store = f"--session-store={self.redis.uri}"
        done = await deferToThread(logui, self.folders["a"], store, "flight", "disable", self.flight.id)
        self.assertIn("does not answer", done.stderr)
        self.assertFalse(self.registry.get_flight(self.flight.id).active)


class EraseTests(TwoServersTestCase):
    async def test_what_was_deleted_is_not_gone_on_with_elsewhere(self) -> None:
        client = await self.greet_at("a", clientInstance="tab", appSpecificLogData={"mail": "a@b.example"})
        await client.events(1, payloadID=1)
        client.socket.close(1000)
        await self.rested("a", client.session)
        self.assertEqual(self.redis.cli("exists", f"logui:session:{client.session}"), "1")
        store = f"--session-store={self.redis.uri}"
        await deferToThread(logui, self.folders["a"], store, "session", "delete", "--yes", client.session)
        self.assertEqual(self.redis.cli("exists", f"logui:session:{client.session}"), "0")
        for name in "ab":
            again = await self.greet_at(name, client.session, clientInstance="tab")
            self.assertNotEqual(again.session, client.session)
