"""Shipped for authors of stores and dialects: what to test against.

A store is held to its promises by a test case that inherits them::

    class MyStoreTests(SessionStoreContract, TestCase):
        def make_store(self, clock):
            return MyStore(clock)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from logui_tx.interfaces import IPeer, ISessionStore
from logui_tx.model import Close

if TYPE_CHECKING:
    from unittest import TestCase
else:
    TestCase = object


@implementer(IPeer)
@define
class FakePeer:
    """The other end of a conversation, in memory: what it was sent, how it was closed, whether it is read.

    ``gone`` ends it without a word. What comes after the end is not recorded.
    """

    sent: list[bytes] = field(factory=list)
    closed: Close | None = None
    paused: bool = False
    gone: bool = False

    def send(self, message: bytes) -> None:
        """See :meth:`IPeer.send`."""
        if not self._ended():
            self.sent.append(message)

    def close(self, how: Close) -> None:
        """See :meth:`IPeer.close`; the first close counts."""
        if not self._ended():
            self.closed = how

    def pause(self) -> None:
        """See :meth:`IPeer.pause`."""
        if not self._ended():
            self.paused = True

    def resume(self) -> None:
        """See :meth:`IPeer.resume`."""
        if not self._ended():
            self.paused = False

    def _ended(self) -> bool:
        return self.gone or self.closed is not None


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
        self.addCleanup(lambda: self.store.close())

    def test_provides_the_interface(self) -> None:
        verifyObject(ISessionStore, self.store)
        self.assertIsInstance(self.store.name, str)
        self.assertTrue(self.store.name)

    async def test_load_of_what_was_never_saved(self) -> None:
        self.assertIsNone(await self.store.load("unknown"))

    async def test_save_and_load(self) -> None:
        await self.store.save("one", b"state", self.ttl)
        for _ in range(2):
            self.assertEqual(await self.store.load("one"), b"state")

    async def test_values_are_bytes_of_any_kind(self) -> None:
        for state in (b"", b"\x00", bytes(range(256)), b"\xff\xfe\x00\r\n", b"12345", b"1.5", b"x" * 200_000):
            await self.store.save("one", state, self.ttl)
            loaded = await self.store.load("one")
            self.assertEqual(loaded, state)
            self.assertIs(type(loaded), bytes)

    async def test_ids_of_any_text(self) -> None:
        ids = ["one", "One", "one ", "one:two", "one*", "\u00fc\U0001f600", "x" * 500, "../one", "{one}"]
        for session_id in ids:
            await self.store.save(session_id, session_id.encode(), self.ttl)
        for session_id in ids:
            self.assertEqual(await self.store.load(session_id), session_id.encode())

    async def test_saving_again_replaces(self) -> None:
        await self.store.save("one", b"a longer state", self.ttl)
        await self.store.save("one", b"short", self.ttl)
        self.assertEqual(await self.store.load("one"), b"short")

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

    async def test_forget(self) -> None:
        await self.store.save("one", b"1", self.ttl)
        await self.store.save("two", b"2", self.ttl)
        for _ in range(2):
            await self.store.forget("one")
            self.assertIsNone(await self.store.load("one"))
        await self.store.forget("unknown")
        self.assertEqual(await self.store.load("two"), b"2")
        await self.store.save("one", b"again", self.ttl)
        self.assertEqual(await self.store.load("one"), b"again")

    async def test_kept_for_its_time_and_no_longer(self) -> None:
        await self.store.save("one", b"1", self.ttl)
        await self.pass_time(self.ttl / 2)
        self.assertEqual(await self.store.load("one"), b"1")
        await self.pass_time(self.ttl * 2)
        self.assertIsNone(await self.store.load("one"))
        await self.store.forget("one")

    async def test_saving_again_starts_the_time_anew(self) -> None:
        await self.store.save("one", b"1", self.ttl)
        await self.pass_time(self.ttl / 2)
        await self.store.save("one", b"2", self.ttl * 4)
        await self.pass_time(self.ttl * 2)
        self.assertEqual(await self.store.load("one"), b"2")
        await self.store.save("one", b"3", self.ttl)
        await self.pass_time(self.ttl * 2)
        self.assertIsNone(await self.store.load("one"))

    async def test_loading_does_not_start_the_time_anew(self) -> None:
        await self.store.save("one", b"1", self.ttl)
        await self.pass_time(self.ttl / 2)
        await self.store.load("one")
        await self.pass_time(self.ttl * 0.75)
        self.assertIsNone(await self.store.load("one"))

    async def test_the_time_of_a_state_that_was_forgotten_is_over(self) -> None:
        await self.store.save("one", b"1", self.ttl)
        await self.store.forget("one")
        await self.store.save("one", b"2", self.ttl * 4)
        await self.pass_time(self.ttl * 2)
        self.assertEqual(await self.store.load("one"), b"2")

    async def test_many_sessions_each_with_its_time(self) -> None:
        for number in range(200):
            await self.store.save(f"session {number}", b"%d" % number, self.ttl * (1 + 3 * (number % 2)))
        await self.pass_time(self.ttl * 2)
        for number in range(200):
            expected = b"%d" % number if number % 2 else None
            self.assertEqual(await self.store.load(f"session {number}"), expected)

    async def test_check(self) -> None:
        await self.store.check()

    async def test_close(self) -> None:
        await self.store.save("one", b"1", self.ttl)
        for _ in range(2):
            await self.store.close()
