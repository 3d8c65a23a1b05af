"""Several servers that share sessions: handed over, taken over, refused, refreshed."""

from logui_tx import intake, sharing
from logui_tx.errors import HandshakeRefused, NotStored, Refusal
from logui_tx.journal.segment import Kind
from logui_tx.model import EndReason
from logui_tx.neighbours import ANSWER_TIMEOUT
from logui_tx.numbers import BLIND, BLOCK
from logui_tx.sharing import REFRESHES
from logui_tx.stores.memory import MemorySessionStore
from tests.servers import FULL, OTHER_FLIGHT, WINDOW, SharingTestCase


class HandOverTests(SharingTestCase):
    def test_without_a_gap(self) -> None:
        first = self.open(self.a, None, "tab", k=b"1")
        self.log(self.a, first, 1, 2, 3)
        self.end(self.a, first)
        self.assertEqual(self.a.live, {})
        session_id = first.session.id
        second = self.open(self.b, session_id, "tab", h=b"2")
        self.assertEqual((second.resumed, second.last_payload_id), (True, 3))
        self.assertEqual(second.session.now.app_data.encoded, b'{"k":1,"h":2}')
        self.log(self.b, second, 3, 4)
        self.end(self.b, second)
        third = self.open(self.a, session_id)
        self.assertEqual((third.last_payload_id, third.session.now.app_data.encoded), (4, b'{"k":1,"h":2}'))
        self.log(self.a, third, 5)
        self.assertEqual(self.numbers(session_id), [1, 2, 3, 4, 5])
        self.assertEqual((self.jumps(self.a, session_id), self.jumps(self.b, session_id)), ([0], [0]))
        self.assertEqual(first.session.handle.row, second.session.handle.row)
        # Its own journal knew the session before.
        self.assertEqual(third.session.handle.number, first.session.handle.number)

    def test_what_was_refused_has_to_come_first_elsewhere_too(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        refused = self.a.log(first, 2)
        self.a.journal.commit(error=FULL)
        self.failureResultOf(refused, NotStored)
        self.end(self.a, first)
        second = self.open(self.b, first.session.id)
        self.failureResultOf(self.b.log(second, 3), NotStored)
        self.log(self.b, second, 2, 3)
        # Where it was refused it counts as stored by now.
        third = self.open(self.a, first.session.id)
        self.assertEqual(third.last_payload_id, 3)
        self.log(self.a, third, 4)

    def test_after_shutdown_client_nobody_goes_on(self) -> None:
        first = self.open(self.a)
        self.end(self.a, first, EndReason.SHUTDOWN_CLIENT)
        self.assertFalse(self.open(self.b, first.session.id).resumed)
        self.assertFalse(self.open(self.a, first.session.id).resumed)

    def test_after_shutdown_client_though_another_server_was_killed(self) -> None:
        first = self.open(self.a)
        self.a.kill()
        second = self.open(self.b, first.session.id)
        self.end(self.b, second, EndReason.SHUTDOWN_CLIENT)
        self.assertFalse(self.open(self.c, first.session.id).resumed)

    def test_too_late(self) -> None:
        first = self.open(self.a)
        self.end(self.a, first)
        self.clock.advance(WINDOW + 1)
        self.assertFalse(self.open(self.b, first.session.id).resumed)
        self.assertFalse(self.open(self.a, first.session.id).resumed)

    def test_too_late_though_a_server_that_was_killed_had_it_open(self) -> None:
        first = self.open(self.a)
        self.clock.advance(WINDOW - 1)
        self.pump()
        self.a.kill()
        self.clock.advance(2)
        self.assertFalse(self.open(self.b, first.session.id).resumed)

    def test_while_it_comes_to_rest(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        self.a.leave(first)
        # The end is on its way to the disk, and a release waits for it.
        asked = self.b.ask(first.session.id)
        self.assertNoResult(asked)
        self.pump()
        second = self.successResultOf(asked)
        self.log(self.b, second, 2)
        self.assertEqual(
            (self.numbers(first.session.id), self.jumps(self.b, first.session.id)), ([1, 2], [0])
        )
        self.assertEqual(self.a.live, {})

    def test_erased(self) -> None:
        first = self.open(self.a)
        self.end(self.a, first)
        self.a.journal.entries.clear()
        self.assertFalse(self.open(self.a, first.session.id).resumed)

    def test_the_store_has_forgotten_it(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        self.end(self.a, first)
        self.stores.drop(first.session.id)
        second = self.open(self.a, first.session.id)
        self.assertEqual(second.resumed, True)
        (jump,) = self.jumps(self.a, first.session.id)
        self.assertGreater(jump, BLIND)


class TakeOverTests(SharingTestCase):
    def test_a_server_that_was_killed(self) -> None:
        first = self.open(self.a, k=b"1")
        session_id = first.session.id
        self.log(self.a, first, 1, 2)
        lost = self.a.log(first, 3)
        self.a.kill()
        asked = self.b.ask(session_id)
        self.pump()
        second = self.successResultOf(asked)
        self.assertNoResult(lost)
        self.assertEqual((second.resumed, second.last_payload_id), (True, 2))
        self.log(self.b, second, 3)
        self.assertEqual(self.numbers(session_id), [1, 2, BLOCK + 1])
        self.assertEqual(self.jumps(self.b, session_id), [BLOCK + 1])
        # No gap within the block.
        self.log(self.b, second, 4, 5)
        self.assertEqual(self.numbers(session_id)[-3:], [BLOCK + 1, BLOCK + 2, BLOCK + 3])
        a = self.restart(self.a)
        third = self.open(a, session_id)
        self.assertEqual((third.last_payload_id, self.b.evicted), (5, [second]))
        self.log(a, third, 6)
        self.assertEqual(self.numbers(session_id)[-1], BLOCK + 4)

    def test_a_server_that_was_killed_and_knows_what_nobody_heard_of(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        self.a.log(first, 2)
        self.a.kill(commit=1)
        a = self.restart(self.a)
        again = self.open(a, first.session.id)
        self.assertEqual(again.last_payload_id, 2)
        self.log(a, again, 3)
        # Nobody else has the numbers of its block.
        self.assertEqual(self.numbers(first.session.id), [1, 2, 3])
        self.assertEqual(self.jumps(a, first.session.id), [0])

    def test_a_server_that_does_not_answer(self) -> None:
        first = self.open(self.a)
        self.a.journal.stuck = True
        asked = self.b.ask(first.session.id)
        self.pump()
        self.assertNoResult(asked)
        self.clock.advance(ANSWER_TIMEOUT)
        self.pump()
        second = self.successResultOf(asked)
        self.assertTrue(second.resumed)
        self.a.journal.stuck = False

    def test_a_block_of_a_view_at_rest_is_anothers(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        self.end(self.a, first)
        second = self.open(self.b, first.session.id)
        third = self.open(self.a, first.session.id, "other tab")
        self.log(self.b, second, 2, 3)
        self.log(self.a, third, 1, 2)
        self.assertEqual(self.numbers(first.session.id), [1, 2, 3, BLOCK + 2, BLOCK + 3])


class RefusedTests(SharingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.first = self.open(self.a, k=b'"%s"' % (b"x" * 60))
        self.id = self.first.session.id
        self.before = self.stores.sessions[self.id]

    def assert_untouched(self) -> None:
        self.pump()
        self.assertEqual((self.a.evicted, self.b.live.get(self.id)), ([], None))
        self.assertEqual(self.stores.sessions[self.id], self.before)

    def test_too_large_data(self) -> None:
        asked = self.b.ask(self.id, h=b'"%s"' % (b"x" * 60))
        self.pump()
        self.assertIs(self.failureResultOf(asked, HandshakeRefused).value.cause, Refusal.FIELD)
        self.assert_untouched()

    def test_too_large_data_of_one_who_asks_refuses_no_other(self) -> None:
        first, *others = [
            self.b.ask(self.id, f"tab {n}", **more)
            for n, more in enumerate([{"h": b'"%s"' % (b"x" * 60)}, {}, {"i": b"1"}])
        ]
        self.pump()
        self.failureResultOf(first, HandshakeRefused)
        one, two = map(self.successResultOf, others)
        self.assertTrue(one.resumed and two.resumed and one.session is two.session)
        self.assertEqual([jump for jump in self.jumps(self.b, self.id) if jump], [BLOCK + 1])

    def test_another_flights_token(self) -> None:
        asked = self.b.ask(self.id, "tab", OTHER_FLIGHT)
        right = self.b.ask(self.id, "right")
        self.pump()
        self.assertFalse(self.successResultOf(asked).resumed)
        self.assertTrue(self.successResultOf(right).resumed)
        self.assertEqual(self.a.evicted, [])

    def test_another_flights_token_alone(self) -> None:
        self.assertFalse(self.open(self.b, self.id, "tab", OTHER_FLIGHT).resumed)
        self.assertFalse(self.open(self.a, self.id, "tab", OTHER_FLIGHT).resumed)
        self.assert_untouched()


class NumbersTests(SharingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(sharing, "BLOCK", 10)
        self.patch(intake, "LOW", 5)
        self.first = self.open(self.a)
        self.id = self.first.session.id

    def test_the_next_block_is_asked_for_in_time(self) -> None:
        self.log(self.a, self.first, *range(1, 101))
        self.assertEqual(self.numbers(self.id), [*range(1, 101)])
        self.assertEqual(self.jumps(self.a, self.id), [])
        self.end(self.a, self.first)
        self.assertEqual(self.stores.sessions[self.id][1], 100)

    def test_a_jump_within_is_marked(self) -> None:
        second = self.open(self.b, self.id, "two")
        self.log(self.b, second, 1)
        self.log(self.a, self.first, *range(1, 14))
        self.assertEqual(self.numbers(self.id), [*range(1, 11), 11, 21, 22, 23])
        (jump,) = self.jumps(self.a, self.id)
        at = [entry.first_seq for entry in self.a.journal.of(self.id)].index(jump)
        marked, after = self.a.journal.of(self.id)[at : at + 2]
        self.assertEqual((marked.kind, after.kind, after.first_seq), (Kind.RESUMED, Kind.EVENTS, jump))

    def test_none_are_left_and_the_store_is_away(self) -> None:
        self.away(self.a)
        self.log(self.a, self.first, *range(1, 11))
        refused = self.a.log(self.first, 11)
        self.failureResultOf(refused, NotStored)
        self.failureResultOf(self.a.log(self.first, 12), NotStored)
        self.back(self.a)
        # It is asked for with the next payload, which has to come again.
        self.failureResultOf(self.a.log(self.first, 12), NotStored)
        self.failureResultOf(self.a.log(self.first, 11), NotStored)
        self.log(self.a, self.first, 11, 12)
        self.assertEqual(self.numbers(self.id), [*range(1, 13)])


class TimeTests(SharingTestCase):
    def test_an_idle_session_is_not_forgotten(self) -> None:
        first = self.open(self.a)
        self.log(self.a, first, 1)
        for _ in range(3 * REFRESHES):
            self.clock.advance(WINDOW / REFRESHES)
        moved = self.open(self.b, first.session.id)
        self.assertEqual((moved.resumed, moved.last_payload_id, self.a.evicted), (True, 1, [first]))

    def test_a_session_at_rest_is(self) -> None:
        first = self.open(self.a)
        self.end(self.a, first)
        self.clock.advance(WINDOW)
        self.assertNotIn(first.session.id, self.stores.sessions)

    def test_a_store_of_one_process_hears_nothing_of_live_sessions(self) -> None:
        store = MemorySessionStore(self.clock)
        alone = self.start("alone", end=store)
        first = self.open(alone)
        self.log(alone, first, 1)
        self.assertEqual(self.successResultOf(store.load(first.session.id)).views, {})
        self.end(alone, first)
        again = self.open(alone, first.session.id)
        self.assertEqual(again.last_payload_id, 1)
        self.log(alone, again, 2)
        self.assertEqual(self.numbers(first.session.id), [1, 2])
