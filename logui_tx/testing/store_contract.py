"""What a session store promises, as tests to inherit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from logui_tx.interfaces import ISessionStore
from logui_tx.model import Kept, Known

if TYPE_CHECKING:
    from unittest import TestCase
else:
    TestCase = object


class SessionStoreContract(TestCase):
    """What :class:`ISessionStore` promises; to stand before trial's ``TestCase`` in the bases.

    A store with a clock of its own sets a short ``ttl`` and overrides :meth:`pass_time`.
    """

    ttl = 60.0
    """Seconds; :meth:`pass_time` is asked for half of it and for twice as much."""

    def make_store(self, clock: Clock) -> ISessionStore:
        """A new store that shares nothing with the one made before."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let this much time go by for the store."""
        self.clock.advance(seconds)

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.store = self.make_store(self.clock)
        self.store.start("me", lambda _message: None, lambda: None)
        self.addCleanup(lambda: self.store.close())

    def test_provides_the_interface(self) -> None:
        verifyObject(ISessionStore, self.store)
        self.assertIsInstance(self.store.name, str)
        self.assertTrue(self.store.name)

    async def load(self, session_id: str) -> bytes | None:
        """This server's view."""
        known = await self.store.load(session_id)
        return known.views.get("me")

    async def save(self, session_id: str, view: bytes, ttl: float) -> None:
        await self.store.save({session_id: Kept(view)}, ttl)

    async def test_load_of_what_was_never_saved(self) -> None:
        self.assertEqual(await self.store.load("unknown"), Known({}, 0))

    async def test_save_and_load(self) -> None:
        await self.save("one", b"state", self.ttl)
        for _ in range(2):
            self.assertEqual(await self.store.load("one"), Known({"me": b"state"}, 0))

    async def test_many_at_once(self) -> None:
        await self.store.save({f"s{n}": Kept(b"%d" % n, n) for n in range(300)}, self.ttl)
        for n in range(0, 300, 7):
            self.assertEqual(await self.store.load(f"s{n}"), Known({"me": b"%d" % n}, n))
        await self.store.save({}, self.ttl)

    async def test_values_are_bytes_of_any_kind(self) -> None:
        for view in (b"", b"\x00", bytes(range(256)), b"\xff\xfe\x00\r\n", b"12345", b"1.5", b"x" * 200_000):
            await self.save("one", view, self.ttl)
            loaded = await self.load("one")
            self.assertEqual(loaded, view)
            self.assertIs(type(loaded), bytes)

    async def test_ids_of_any_text(self) -> None:
        ids = ["one", "One", "one ", "one:two", "one*", "\u00fc\U0001f600", "x" * 500, "../one", "{one}"]
        for session_id in ids:
            await self.save(session_id, session_id.encode(), self.ttl)
        for session_id in ids:
            self.assertEqual(await self.load(session_id), session_id.encode())

    async def test_saving_again_replaces(self) -> None:
        await self.save("one", b"a longer state", self.ttl)
        await self.save("one", b"short", self.ttl)
        self.assertEqual(await self.load("one"), b"short")

    # --- sequence numbers

    async def test_reserved_numbers_are_above_all_others(self) -> None:
        self.assertEqual(await self.store.reserve("one", 10, 0, self.ttl), 10)
        self.assertEqual(await self.store.reserve("one", 10, 0, self.ttl), 20)
        self.assertEqual(await self.store.reserve("one", 5, 100, self.ttl), 105)
        self.assertEqual(await self.store.reserve("one", 5, 100, self.ttl), 110)
        self.assertEqual(await self.store.load("one"), Known({}, 110))
        self.assertEqual(await self.store.reserve("two", 1, 2**52, self.ttl), 2**52 + 1)

    async def test_saved_numbers_are_reserved(self) -> None:
        await self.store.save({"one": Kept(b"1", 1_000)}, self.ttl)
        self.assertEqual(await self.store.reserve("one", 10, 0, self.ttl), 1_010)
        await self.store.save({"one": Kept(b"1", 1_000)}, self.ttl)
        self.assertEqual(await self.store.load("one"), Known({"me": b"1"}, 1_010))

    async def test_numbers_that_were_not_used_are_given_back(self) -> None:
        await self.store.save({"one": Kept(b"1", 1_000)}, self.ttl)
        await self.store.save({"one": Kept(b"2", 1_000, 57)}, self.ttl)
        self.assertEqual(await self.store.load("one"), Known({"me": b"2"}, 57))
        self.assertEqual(await self.store.reserve("one", 10, 57, self.ttl), 67)

    async def test_numbers_below_anothers_are_not_given_back(self) -> None:
        await self.store.save({"one": Kept(b"1", 1_000)}, self.ttl)
        await self.store.reserve("one", 10, 0, self.ttl)
        await self.store.save({"one": Kept(b"1", 1_000, 57)}, self.ttl)
        self.assertEqual(await self.store.reserve("one", 10, 0, self.ttl), 1_020)

    async def test_nobody_hears_what_is_told_to_nobody(self) -> None:
        self.assertEqual(await self.store.tell("nobody", b"hello"), 0)

    # --- tickets

    async def test_a_ticket_is_used_once(self) -> None:
        self.assertTrue(await self.store.keep_ticket("one", self.ttl))
        self.assertTrue(await self.store.keep_ticket("two", self.ttl))
        self.assertTrue(await self.store.take_ticket("one", True, self.ttl))
        for _ in range(2):
            self.assertFalse(await self.store.take_ticket("one", True, self.ttl))
        self.assertTrue(await self.store.take_ticket("two", True, self.ttl))

    async def test_a_ticket_that_was_never_kept(self) -> None:
        self.assertFalse(await self.store.take_ticket("unknown", True, self.ttl))

    async def test_a_ticket_in_time_and_late(self) -> None:
        for name in ("early", "late"):
            await self.store.keep_ticket(name, self.ttl)
        await self.pass_time(self.ttl / 2)
        self.assertTrue(await self.store.take_ticket("early", True, self.ttl))
        await self.pass_time(self.ttl)
        self.assertFalse(await self.store.take_ticket("late", True, self.ttl))

    # --- time

    async def test_forget(self) -> None:
        await self.save("one", b"1", self.ttl)
        await self.save("two", b"2", self.ttl)
        for _ in range(2):
            await self.store.forget("one")
            self.assertIsNone(await self.load("one"))
        await self.store.forget("unknown")
        self.assertEqual(await self.load("two"), b"2")
        await self.save("one", b"again", self.ttl)
        self.assertEqual(await self.load("one"), b"again")

    async def test_kept_for_its_time_and_no_longer(self) -> None:
        await self.save("one", b"1", self.ttl)
        await self.pass_time(self.ttl / 2)
        self.assertEqual(await self.load("one"), b"1")
        await self.pass_time(self.ttl * 2)
        self.assertIsNone(await self.load("one"))
        await self.store.forget("one")

    async def test_saving_again_starts_the_time_anew(self) -> None:
        await self.save("one", b"1", self.ttl)
        await self.pass_time(self.ttl / 2)
        await self.save("one", b"2", self.ttl * 4)
        await self.pass_time(self.ttl * 2)
        self.assertEqual(await self.load("one"), b"2")
        await self.save("one", b"3", self.ttl)
        await self.pass_time(self.ttl * 2)
        self.assertIsNone(await self.load("one"))

    async def test_loading_does_not_start_the_time_anew(self) -> None:
        await self.save("one", b"1", self.ttl)
        await self.pass_time(self.ttl / 2)
        await self.load("one")
        await self.pass_time(self.ttl * 0.75)
        self.assertIsNone(await self.load("one"))

    async def test_the_time_of_a_state_that_was_forgotten_is_over(self) -> None:
        await self.save("one", b"1", self.ttl)
        await self.store.forget("one")
        await self.save("one", b"2", self.ttl * 4)
        await self.pass_time(self.ttl * 2)
        self.assertEqual(await self.load("one"), b"2")

    async def test_many_sessions_each_with_its_time(self) -> None:
        for number in range(200):
            await self.save(f"session {number}", b"%d" % number, self.ttl * (1 + 3 * (number % 2)))
        await self.pass_time(self.ttl * 2)
        for number in range(200):
            expected = b"%d" % number if number % 2 else None
            self.assertEqual(await self.load(f"session {number}"), expected)

    async def test_check(self) -> None:
        await self.store.check()

    async def test_close(self) -> None:
        await self.save("one", b"1", self.ttl)
        for _ in range(2):
            await self.store.close()


class SharedSessionStoreContract(SessionStoreContract):
    """What a shared store promises besides; its author gives three servers' ends of one store.

    What is told may take its time: :meth:`settle` waits for it.
    """

    def make_stores(self, clock: Clock) -> Sequence[ISessionStore]:
        """Three ends of one new store."""
        raise NotImplementedError

    def make_store(self, clock: Clock) -> ISessionStore:
        """See :meth:`SessionStoreContract.make_store`: the first of three."""
        self.store, self.second, self.third = self.make_stores(clock)
        self.heard: dict[str, list[bytes]] = {"second": [], "third": []}
        for name in self.heard:
            end: ISessionStore = getattr(self, name)
            end.start(name, self.heard[name].append, lambda: None)
            self.addCleanup(end.close)
        return self.store

    async def settle(self) -> None:
        """Until what was told has been heard."""
        self.clock.advance(0)

    async def test_each_has_its_view(self) -> None:
        self.assertTrue(self.store.shared)
        await self.store.save({"one": Kept(b"1", 10)}, self.ttl)
        await self.second.save({"one": Kept(b"2", 30)}, self.ttl)
        await self.store.save({"one": Kept(b"3", 20)}, self.ttl)
        for end in (self.store, self.second, self.third):
            self.assertEqual(await end.load("one"), Known({"me": b"3", "second": b"2"}, 30))
        await self.third.forget("one")
        self.assertEqual(await self.second.load("one"), Known({}, 0))

    async def test_each_gets_other_numbers(self) -> None:
        ends = [await end.reserve("one", 10, 5, self.ttl) for end in (self.store, self.second, self.third)]
        self.assertEqual(ends, [15, 25, 35])
        await self.second.save({"one": Kept(b"", 25, 17)}, self.ttl)
        self.assertEqual(await self.store.reserve("one", 10, 5, self.ttl), 45)

    async def test_a_ticket_is_used_on_one_of_them(self) -> None:
        self.assertTrue(await self.store.keep_ticket("one", self.ttl))
        self.assertTrue(await self.second.take_ticket("one", True, self.ttl))
        for end in (self.store, self.second, self.third):
            self.assertFalse(await end.take_ticket("one", True, self.ttl))

    async def test_one_tells_another(self) -> None:
        self.assertEqual(await self.store.tell("second", b"\x00one\xff"), 1)
        self.assertEqual(await self.store.tell("nobody", b"two"), 0)
        self.assertEqual(await self.third.tell("second", b"three"), 1)
        await self.settle()
        self.assertEqual(self.heard, {"second": [b"\x00one\xff", b"three"], "third": []})

    async def test_one_tells_all_others(self) -> None:
        self.assertEqual(await self.store.tell(None, b"one"), 2)
        self.assertEqual(await self.second.tell(None, b"two"), 2)
        await self.settle()
        self.assertEqual(self.heard, {"second": [b"one"], "third": [b"one", b"two"]})

    async def test_who_closed_hears_nothing(self) -> None:
        await self.third.close()
        self.assertEqual(await self.store.tell("third", b"one"), 0)
        self.assertEqual(await self.store.tell(None, b"one"), 1)
