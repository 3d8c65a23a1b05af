"""Servers that share sessions while their store is away, or slow."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from logui_tx.errors import NotStored
from logui_tx.model import Kept
from logui_tx.neighbours import ANSWER_TIMEOUT
from logui_tx.numbers import BLIND, BLOCK
from logui_tx.testing import FakeSessionStore, FakeStores
from tests.servers import FULL, SharingTestCase


class StoreAwayTests(SharingTestCase):
    def test_receipts_do_not_wait(self) -> None:
        first = self.open(self.a)
        self.away()
        self.log(self.a, first, 1)
        second = self.open(self.a)
        self.log(self.a, second, 1)
        self.assertNotIn(second.session.id, self.stores.sessions)
        self.back()
        for opened in (first, second):
            self.assertEqual(self.view(self.a, opened.session.id).payload_ids, {"tab": 1})

    def test_the_same_server_goes_on_without_a_jump(self) -> None:
        """What it could not write it knows, also what it did not give back yet."""
        self.away()
        first = self.open(self.a)
        self.log(self.a, first, 1)
        self.end(self.a, first)
        second = self.open(self.a, first.session.id)
        self.assertEqual((second.resumed, second.last_payload_id), (True, 1))
        self.log(self.a, second, 2)
        self.assertEqual(self.jumps(self.a, first.session.id), [0])
        self.back()
        # The numbers are held still.
        third = self.open(self.b, first.session.id, "other tab")
        self.log(self.b, third, 1)
        self.log(self.a, second, 3)
        self.assertEqual(self.numbers(first.session.id), [1, 2, 3, BLOCK + 1])

    def test_nobody_knows_what_others_hold(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        self.end(self.a, first)
        self.away(self.a)
        second = self.open(self.a, first.session.id)
        self.log(self.a, second, 2)
        (_, jump) = self.numbers(first.session.id)
        self.assertGreater(jump, BLIND)
        self.assertEqual(self.jumps(self.a, first.session.id), [jump])
        # Another server knows nothing of that, and gives others.
        third = self.open(self.b, first.session.id, "other tab")
        self.log(self.b, third, 1)
        self.assertEqual(self.numbers(first.session.id), [1, 2, jump])
        self.back(self.a)
        self.end(self.a, second)
        self.log(self.b, third, 2)
        fourth = self.open(self.c, first.session.id, "third tab")
        self.log(self.c, fourth, 1)
        self.assertGreater(self.numbers(first.session.id)[-1], jump)

    def test_two_that_know_nothing_of_each_other(self) -> None:
        first = self.open(self.a)
        self.end(self.a, first)
        second = self.open(self.b, first.session.id)
        self.end(self.b, second)
        self.away()
        tabs = [(server, self.open(server, first.session.id, server.name)) for server in (self.a, self.b)]
        for server, opened in tabs:
            self.log(server, opened, 1, 2)
        self.assertEqual(len(self.numbers(first.session.id)), 4)
        self.back()
        for server, opened in tabs:
            self.log(server, opened, 3)
            self.end(server, opened)
        third = self.open(self.c, first.session.id, "third tab")
        self.log(self.c, third, 1)
        self.assertEqual(len(self.numbers(first.session.id)), 7)

    def test_numbers_taken_blindly_are_not_given_back(self) -> None:
        """Or the store gives them to another while this server, cut off again, takes them again."""
        first = self.open(self.a)
        self.end(self.a, first)
        session_id = first.session.id
        self.away(self.a)
        second = self.open(self.a, session_id)
        self.back(self.a)
        self.end(self.a, second)
        self.away(self.a)
        third = self.open(self.a, session_id)
        self.log(self.a, third, 1)
        other = self.open(self.b, session_id, "other tab")
        self.log(self.b, other, 1)
        self.assertEqual(len(self.numbers(session_id)), 2)

    def test_a_session_that_only_others_know_begins_anew(self) -> None:
        first = self.open(self.a)
        self.end(self.a, first)
        self.away(self.b)
        self.assertFalse(self.open(self.b, first.session.id).resumed)

    def test_it_goes_while_somebody_comes(self) -> None:
        first = self.open(self.a)
        asked = self.b.ask(first.session.id, "two")
        self.away(self.b)
        self.pump()
        self.clock.advance(ANSWER_TIMEOUT)
        self.pump()
        # How it stood there is not to be had any more.
        self.assertFalse(self.successResultOf(asked).resumed)
        self.assertEqual(self.a.evicted, [])

    def test_what_was_not_told_is_found_when_it_is_back(self) -> None:
        """A page load moves while its server is cut off, and comes back to another socket's session."""
        first = self.open(self.a, None, "one")
        self.open(self.a, first.session.id, "other tab")
        self.away(self.a)
        self.log(self.a, first, 1)
        moved = self.open(self.b, first.session.id, "one")
        self.log(self.b, moved, 1, 2)
        in_flight = self.b.log(moved, 3)
        self.back(self.a)
        again = self.open(self.a, first.session.id, "one")
        self.assertEqual((again.last_payload_id, self.b.evicted), (3, [moved]))
        self.successResultOf(in_flight)
        self.log(self.a, again, 3, 4)
        # What was stored while the server was cut off is known to be stored twice.
        self.assertEqual(len(self.numbers(first.session.id)), 5)

    def test_the_newest_view_is_written_when_it_is_back(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        self.end(self.a, first)
        session_id = first.session.id
        self.away(self.a)
        second = self.open(self.a, session_id, h=b"1")
        self.log(self.a, second, 2)
        self.end(self.a, second)
        self.assertEqual(self.view(self.a, session_id).payload_ids, {"tab": 1})
        self.back(self.a)
        third = self.open(self.b, session_id)
        self.assertEqual((third.last_payload_id, third.session.now.app_data.encoded), (2, b'{"h":1}'))

    def test_live_sessions_are_written_when_it_is_back_though_nothing_happened(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        # Redis was emptied.
        self.stores.drop(first.session.id)
        self.away(self.a)
        self.back(self.a)
        moved = self.open(self.b, first.session.id)
        self.assertEqual((moved.last_payload_id, self.a.evicted), (1, [first]))


class SlowEnd(FakeSessionStore):
    """Takes its time to save; the test says when a save is done, in any order."""

    def __init__(self, stores: FakeStores) -> None:
        super().__init__(stores)
        stores.ends.append(self)
        self.late: list[Deferred[None]] | None = None

    def save(self, sessions: Mapping[str, Kept], ttl: float) -> "Deferred[None]":
        if self.late is None:
            return super().save(sessions, ttl)
        done: Deferred[None] = Deferred()
        done.addCallback(lambda _: FakeSessionStore.save(self, sessions, ttl))
        self.late.append(done)
        return done


class SlowStoreTests(SharingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.slow = SlowEnd(self.stores)
        self.d = self.start("d", end=self.slow)
        self.first = self.open(self.d)
        self.id = self.first.session.id
        self.slow.late = []
        self.receipts: list[Any] = []

    def send(self, payload_id: int) -> None:
        sent = self.d.log(self.first, payload_id)
        sent.addCallback(lambda receipt: self.receipts.append((receipt.payload_id, receipt.repeated)))
        self.d.journal.commit()

    def saved(self, at: int = 0) -> None:
        self.slow.late.pop(at).callback(None)

    def finish(self) -> None:
        late, self.slow.late = self.slow.late, None
        for each in late:
            each.callback(None)

    def test_receipts_wait_for_it_and_keep_their_order(self) -> None:
        for payload_id in (1, 2, 3):
            self.send(payload_id)
        self.assertEqual(self.receipts, [])
        self.saved(1)
        self.assertEqual(self.receipts, [])
        self.saved(0)
        self.assertEqual(self.receipts, [(1, False), (2, False)])
        self.saved(0)
        self.assertEqual(self.receipts, [(1, False), (2, False), (3, False)])
        self.finish()

    def test_a_repeat_waits_too(self) -> None:
        self.send(1)
        self.send(1)
        self.assertEqual(self.receipts, [])
        self.saved(1)
        self.assertEqual(self.receipts, [])
        self.saved(0)
        self.assertEqual(self.receipts, [(1, False), (1, True)])
        self.finish()

    def test_idle_is_when_receipts_have_left(self) -> None:
        self.send(1)
        idle = self.d.intake.when_idle()
        self.assertNoResult(idle)
        self.saved()
        self.successResultOf(idle)
        self.finish()

    def test_a_refusal_does_not_wait(self) -> None:
        self.send(1)
        refused = self.d.log(self.first, 2)
        self.d.journal.commit(error=FULL)
        self.failureResultOf(refused, NotStored)
        self.assertEqual(self.receipts, [])
        self.finish()
        self.assertEqual(self.receipts, [(1, False)])

    def test_a_release_waits_for_it(self) -> None:
        self.send(1)
        asked = self.a.ask(self.id)
        self.pump()
        self.assertNoResult(asked)
        self.finish()
        self.pump()
        self.assertEqual(self.successResultOf(asked).last_payload_id, 1)

    def test_who_comes_while_it_comes_to_rest(self) -> None:
        self.d.leave(self.first)
        self.d.journal.commit()
        self.saved()
        self.assertEqual(len(self.slow.late), 1)
        asked = self.d.ask(self.id)
        self.pump()
        self.assertNoResult(asked)
        self.finish()
        self.pump()
        again = self.successResultOf(asked)
        self.assertIs(self.d.live[self.id], again.session)
        self.assertTrue(again.resumed)
        self.log(self.d, again, 1)
        self.assertEqual(self.jumps(self.d, self.id), [0])

    def test_who_is_asked_while_it_comes_to_rest(self) -> None:
        self.d.leave(self.first)
        self.d.journal.commit()
        self.saved()
        asked = self.a.ask(self.id)
        self.pump()
        self.assertNoResult(asked)
        self.finish()
        self.pump()
        self.assertTrue(self.successResultOf(asked).resumed)
        self.assertEqual(self.jumps(self.a, self.id), [0])
