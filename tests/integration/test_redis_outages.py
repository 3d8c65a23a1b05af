"""Redis stopped, frozen, paused and full under load: nothing acknowledged is lost, nobody is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults

from logui_tx.numbers import BLIND
from logui_tx.stores.redis import store as redis_store
from tests.integration.redis import ANSWERS
from tests.integration.served import Client
from tests.integration.two_servers import TwoServersTestCase, jumps

CLIENTS = 12


@define(eq=False)
class Load:
    """Clients that log one payload after the other, each when the one before was acknowledged."""

    clients: list[Client]
    acknowledged: list[int] = field(factory=lambda: [0] * CLIENTS)
    over: bool = False

    def start(self) -> Deferred[Any]:
        return gatherResults(
            [Deferred.fromCoroutine(self.log(n, client)) for n, client in enumerate(self.clients)]
        )

    async def log(self, number: int, client: Client) -> None:
        while not self.over:
            last = self.acknowledged[number]
            answer = await client.events(2 * last + 1, 2 * last + 2, payloadID=last + 1)
            assert (answer["statusCode"], answer["payloadID"]) == ("201", last + 1), answer
            self.acknowledged[number] += 1

    def beyond(self, marks: list[int]) -> Callable[[], bool]:
        """Whether every client has had ten more acknowledgements since."""
        return lambda: all(now >= mark + 10 for now, mark in zip(self.acknowledged, marks, strict=True))


class OutageTests(TwoServersTestCase):
    async def under_load(self, *disturbances: tuple[Callable[[], Any], Callable[[], Any]]) -> None:
        """Each is a way to take Redis away, and one to bring it back."""
        self.patch(redis_store, "NEW_LIFE", 2.0)
        clients = [await self.greet_at("ab"[n % 2], clientInstance="i") for n in range(CLIENTS)]
        load = Load(clients)
        done = load.start()
        await self.until(load.beyond([0] * CLIENTS))
        for take_away, bring_back in disturbances:
            take_away()
            for name in "ab":
                store = self.services[name]._parts.store
                await self.until(lambda store=store: store.away is not None)
                code, report = await self.report(self.ports[name])
                self.assertEqual((code, report["status"]), (200, "degraded"))
                self.assertEqual(report["parts"]["store"]["state"], "degraded")
                self.assertIn("redis: ", report["parts"]["store"]["detail"])
            # They go on all the while.
            await self.until(load.beyond(list(load.acknowledged)))
            # So do those who come.
            late = await self.greet_at("a")
            self.assertEqual((await late.events(1))["statusCode"], "201")
            bring_back()
            await self.ready()
            self.assertEqual((await self.report(self.ports["a"]))[1]["status"], "ok")
            await self.until(load.beyond(list(load.acknowledged)))
        load.over = True
        await done
        for n, client in enumerate(clients):
            stored = self.stored_at("ab"[n % 2], client.session)
            expected = [(number, number) for number in range(1, 2 * load.acknowledged[n] + 1)]
            self.assertEqual([(seq, number) for seq, number, _ in stored], expected)
        for name in "ab":
            self.assertEqual(jumps(self.folders[name]), [])
        for service in self.services.values():
            store = service._parts.store
            await self.until(lambda store=store: store._new_life is None)
        # What could not be written meanwhile is there: each goes on at the other server without a gap.
        for n, client in enumerate(clients):
            client.socket.close(1000)
            await self.rested("ab"[n % 2], client.session)
            again = await self.greet_at("ba"[n % 2], client.session, clientInstance="i")
            self.assertEqual(
                (again.session, again.welcome["lastPayloadID"]), (client.session, load.acknowledged[n])
            )
            await again.events(0)
            ((seq, _, _),) = self.stored_at("ba"[n % 2], client.session)
            self.assertEqual(seq, 2 * load.acknowledged[n] + 1)

    async def test_killed_and_started_empty(self) -> None:
        await self.under_load(*[(self.redis.stop, self.redis.start)] * 3)

    async def test_frozen(self) -> None:
        await self.under_load(*[(self.silence, self.speech)] * 2)

    async def test_client_pause(self) -> None:
        def pause() -> None:
            self.wait_at_most(0.5)
            self.redis.cli("client", "pause", "600000", "write")

        def go_on() -> None:
            self.wait_at_most(ANSWERS)
            self.redis.cli("client", "unpause")

        await self.under_load((pause, go_on))

    async def test_a_full_memory(self) -> None:
        def limit(size: str) -> Callable[[], Any]:
            return lambda: self.redis.cli("config", "set", "maxmemory", size)

        await self.under_load((limit("1"), limit("0")))


class AwayTests(TwoServersTestCase):
    async def away(self) -> None:
        self.redis.stop()
        for service in self.services.values():
            store = service._parts.store
            await self.until(lambda store=store: store.away is not None)

    async def test_a_client_comes_back_to_its_server(self) -> None:
        client = await self.greet_at("a", clientInstance="tab", appSpecificLogData={"x": 1})
        await self.away()
        await client.events(1, payloadID=1)
        client.socket.close(1000)
        await self.rested("a", client.session)
        again = await self.greet_at("a", client.session, clientInstance="tab")
        self.assertEqual((again.session, again.welcome["lastPayloadID"]), (client.session, 1))
        await again.events(2, payloadID=2)
        self.assertEqual(self.stored_at("a", client.session), [(1, 1, {"x": 1}), (2, 2, {"x": 1})])

    async def test_what_only_the_journal_knows_goes_on_above_all_that_others_may_hold(self) -> None:
        client = await self.greet_at("a", clientInstance="tab")
        await client.events(1, payloadID=1)
        client.socket.close(1000)
        await self.rested("a", client.session)
        # What could not be written yet would still be known here.
        store: Any = self.services["a"]._parts.store
        await self.until(lambda: store.away is None and not store._unwritten)
        await self.away()
        again = await self.greet_at("a", client.session, clientInstance="tab")
        self.assertEqual((again.session, again.welcome["lastPayloadID"]), (client.session, 1))
        await again.events(2, payloadID=2)
        (_, (seq, n, _)) = self.stored_at("a", client.session)
        self.assertEqual(n, 2)
        self.assertGreater(seq, BLIND)
        self.assertEqual(jumps(self.folders["a"]), [seq])

    async def test_a_server_starts_without_it(self) -> None:
        await self.away()
        await self.services["b"].stopService()
        self.start_at("b")
        client = await self.greet_at("b")
        self.assertEqual((await client.events(1))["statusCode"], "201")
        self.redis.start()
        await self.ready()
        self.assertEqual((await self.health("b"))["state"], "ok")
