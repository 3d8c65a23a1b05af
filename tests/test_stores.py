"""Session stores: the contract over memory, how they are found, and the peer that authors get."""

from collections.abc import Mapping, Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from logui_tx.errors import BadOption
from logui_tx.interfaces import IPeer, ISessionStore
from logui_tx.model import Close, Kept, Known
from logui_tx.stores import open_store
from logui_tx.stores.memory import MemorySessionStore
from logui_tx.testing import FakePeer, FakeStores, SessionStoreContract, SharedSessionStoreContract

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class MemorySessionStoreTests(SessionStoreContract, TestCase):
    def make_store(self, clock: Clock) -> ISessionStore:
        return MemorySessionStore(clock)

    async def test_to_the_second(self) -> None:
        await self.save("one", b"1", 60)
        self.clock.advance(59.9)
        self.assertEqual(await self.load("one"), b"1")
        self.clock.advance(0.1)
        self.assertIsNone(await self.load("one"))

    async def test_nothing_is_left(self) -> None:
        for number in range(3):
            await self.save(str(number), b"", 60)
            await self.save(str(number), b"", 60)
        self.assertEqual(len(self.clock.getDelayedCalls()), 3)
        await self.store.forget("0")
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        await self.store.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(await self.load("1"))

    async def test_a_ticket_leaves_nothing(self) -> None:
        await self.store.keep_ticket("one", 15)
        await self.store.keep_ticket("two", 15)
        await self.store.take_ticket("one", True, 15)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        await self.store.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FakeSessionStoreTests(SharedSessionStoreContract, TestCase):
    def make_stores(self, clock: Clock) -> Sequence[ISessionStore]:
        stores = FakeStores(clock)
        return [stores.new(), stores.new(), stores.new()]


steps = st.one_of(
    st.tuples(st.just("save"), st.sampled_from("ab"), st.integers(1, 5)),
    st.tuples(st.just("forget"), st.sampled_from("ab"), st.none()),
    st.tuples(st.just("pass"), st.none(), st.integers(1, 4)),
)


class MemoryModelTests(SynchronousTestCase):
    @unhurried
    @given(st.lists(steps, max_size=20))
    def test_as_a_list_of_deadlines(self, todo: list[tuple[str, str, int]]) -> None:
        clock, kept = Clock(), {}
        store = MemorySessionStore(clock)
        for number, (what, session_id, seconds) in enumerate(todo):
            if what == "save":
                store.save({session_id: Kept(b"%d" % number)}, seconds)
                kept[session_id] = (b"%d" % number, clock.seconds() + seconds)
            elif what == "forget":
                store.forget(session_id)
                kept.pop(session_id, None)
            else:
                clock.advance(seconds)
            for one in "ab":
                state, until = kept.get(one, (None, 0))
                expected = state if until > clock.seconds() else None
                views = {} if expected is None else {"": expected}
                self.assertEqual(self.successResultOf(store.load(one)), Known(views, 0))


class OpenStoreTests(SynchronousTestCase):
    def test_memory(self) -> None:
        store = open_store("memory:", Clock())
        verifyObject(ISessionStore, store)
        self.assertEqual(store.name, "memory")

    def test_unknown_kinds_without_their_password(self) -> None:
        for uri in [
            "redis:user:PASSWORD@host:6379/0",
            "etcd://user:PASSWORD@host:6379/0",
            "PASSWORD",
            "memory",
            "memory:PASSWORD",
            "memory://PASSWORD@host",
            "Memory:",
            ":",
            "",
        ]:
            error = self.assertRaises(BadOption, open_store, uri, Clock())
            self.assertNotIn("PASSWORD", f"{error!r} {error.__context__!r} {error.__cause__!r}")
            self.assertTrue(str(error).startswith("session-store: "))
            self.assertIn("memory:", str(error))


class FakePeerTests(SynchronousTestCase):
    def test_records(self) -> None:
        peer = FakePeer()
        verifyObject(IPeer, peer)
        self.assertEqual(peer, FakePeer([], None, False))
        peer.send(b"1")
        peer.pause()
        self.assertTrue(peer.paused)
        peer.resume()
        peer.send(b"2")
        peer.close(Close(1000, "done"))
        self.assertEqual(peer, FakePeer([b"1", b"2"], Close(1000, "done"), False))

    def test_harmless_after_the_end(self) -> None:
        for peer in (FakePeer(closed=Close(1001)), FakePeer(gone=True)):
            before = (list(peer.sent), peer.closed, peer.paused)
            peer.send(b"late")
            peer.close(Close(1000))
            peer.pause()
            peer.resume()
            self.assertEqual((peer.sent, peer.closed, peer.paused), before)

    def test_two_peers_share_nothing(self) -> None:
        one, two = FakePeer(), FakePeer()
        one.send(b"1")
        self.assertEqual(two.sent, [])


class ContractTests(SynchronousTestCase):
    """The contract notices what it is for."""

    def failures(self, **broken: object) -> set[str]:
        kind = type("Broken", (MemorySessionStore,), broken)

        class Case(SessionStoreContract, TestCase):
            def make_store(self, clock: Clock) -> ISessionStore:
                return kind(clock)

        names = {name for name in dir(Case) if name.startswith("test_")}
        found = set()
        for name in names:
            result = Case(name).defaultTestResult()
            Case(name).run(result)
            if not result.wasSuccessful():
                found.add(name)
        return found

    def test_a_good_store_passes(self) -> None:
        self.assertEqual(self.failures(), set())

    def test_broken_stores_do_not(self) -> None:
        from twisted.internet.defer import fail, succeed

        def text(self: MemorySessionStore, session_id: str) -> object:
            kept = self._sessions.get(session_id)
            return succeed(Known({"me": kept.view.decode("latin-1")} if kept and kept.view else {}, 0))

        def forever(self: MemorySessionStore, sessions: Mapping[str, Kept], ttl: float) -> object:
            return MemorySessionStore.save(self, sessions, ttl * 100)

        def keeps_all(self: MemorySessionStore, sessions: Mapping[str, Kept], ttl: float) -> object:
            kept = {name: Kept(each.view, each.numbers_to) for name, each in sessions.items()}
            return MemorySessionStore.save(self, kept, ttl)

        self.assertIn("test_values_are_bytes_of_any_kind", self.failures(load=text))
        self.assertIn("test_kept_for_its_time_and_no_longer", self.failures(save=forever))
        self.assertIn("test_numbers_that_were_not_used_are_given_back", self.failures(save=keeps_all))
        self.assertIn(
            "test_a_ticket_is_used_once",
            self.failures(take_ticket=lambda self, name, kept, ttl: succeed(True)),
        )
        self.assertIn("test_forget", self.failures(forget=lambda self, session_id: succeed(None)))
        self.assertIn("test_check", self.failures(check=lambda self: fail(OSError())))


class CapacityTests(SynchronousTestCase):
    def views(self, store: MemorySessionStore, name: str) -> dict[str, bytes]:
        return self.successResultOf(store.load(name)).views

    def test_the_oldest_go_first(self) -> None:
        store = MemorySessionStore(Clock(), capacity=25)
        for name in ("a", "b", "c"):
            store.save({name: Kept(b"x" * 10)}, 60)
        self.assertEqual([bool(self.views(store, name)) for name in ("a", "b", "c")], [False, True, True])

    def test_what_is_over_makes_room(self) -> None:
        clock = Clock()
        store = MemorySessionStore(clock, capacity=25)
        store.save({"a": Kept(b"x" * 10)}, 1)
        store.save({"b": Kept(b"x" * 10)}, 60)
        clock.advance(1)
        store.save({"c": Kept(b"x" * 10)}, 60)
        self.assertTrue(self.views(store, "b"))
