"""A session that is open at several servers at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from logui_tx.errors import NotStored, Superseded
from logui_tx.journal.segment import Kind
from logui_tx.model import EndReason, Receipt
from logui_tx.numbers import BLOCK
from logui_tx.sessions import Opened
from tests.servers import FULL, Server, SharingTestCase


class AtOnceTests(SharingTestCase):
    """A duplicated tab: another page load of the session at another server."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.open(self.a, None, "one", k=b"1")
        self.id = self.first.session.id
        self.log(self.a, self.first, 1)
        self.second = self.open(self.b, self.id, "two")

    def test_no_number_twice(self) -> None:
        self.assertEqual(self.a.evicted, [])
        for payload_id in range(2, 5):
            self.log(self.a, self.first, payload_id)
            self.log(self.b, self.second, payload_id - 1)
        given = self.numbers(self.id)
        self.assertEqual(given, [1, 2, 3, 4, BLOCK + 1, BLOCK + 2, BLOCK + 3])
        self.assertEqual(self.jumps(self.b, self.id), [BLOCK + 1])

    def test_who_leaves_last_ends_it(self) -> None:
        self.end(self.a, self.first)
        third = self.open(self.c, self.id, "three")
        self.assertTrue(third.resumed)
        self.end(self.b, self.second, EndReason.LOST)
        self.end(self.c, third, EndReason.LEAVING_PAGE)
        self.assertEqual(self.c.journal.of(self.id)[-1].end_reason, "leavingPage")
        self.assertEqual([self.view(s, self.id).open for s in (self.a, self.b, self.c)], [False] * 3)

    def test_blocks_around_anothers_are_not_given_back_with_it(self) -> None:
        self.first.session.numbers.add(2 * BLOCK + 1, 3 * BLOCK, 0)
        self.log(self.a, self.first, 2)
        self.end(self.a, self.first)
        self.assertEqual(self.stores.sessions[self.id][1], 2 * BLOCK)
        third = self.open(self.c, self.id, "three")
        self.log(self.b, self.second, 1)
        self.log(self.c, third, 1)
        self.assertEqual(self.numbers(self.id), [1, 2, BLOCK + 1, 2 * BLOCK + 1])

    def data(self) -> set[bytes]:
        found = set()
        for server in self.servers:
            session = server.live.get(self.id)
            if session is not None and server.alive:
                self.assertEqual(session.now.app_data.encoded, session.committed.app_data.encoded)
                found.add(session.now.app_data.encoded)
        return found

    def test_a_change_reaches_all(self) -> None:
        self.open(self.c, self.id, "three")
        self.successResultOf(self.change(self.b, self.second, k=b"null", h=b"2"))
        self.assertEqual(self.data(), {b'{"h":2}'})
        self.successResultOf(self.change(self.a, self.first, h=b"3"))
        self.assertEqual(self.data(), {b'{"h":3}'})
        kinds = [entry.kind for entry in self.c.journal.of(self.id)]
        self.assertEqual(kinds, [Kind.RESUMED, Kind.CHANGED, Kind.CHANGED])

    def change(self, server: Server, opened: Opened, **app_data: bytes) -> "Deferred[Receipt]":
        changed = server.change(opened, **app_data)
        self.pump()
        return changed

    def test_changes_at_once_end_the_same_everywhere(self) -> None:
        self.open(self.c, self.id, "three")
        self.a.change(self.first, x=b"1")
        self.b.change(self.second, x=b"2")
        self.b.change(self.second, y=b"2")
        self.a.change(self.first, x=b"3")
        self.a.journal.commit()
        self.b.journal.commit()
        self.pump()
        self.assertEqual(self.data(), {b'{"k":1,"x":2,"y":2}'})

    def test_a_handshakes_data_reaches_all(self) -> None:
        self.open(self.c, self.id, "three", t=b"3")
        self.assertEqual(self.data(), {b'{"k":1,"t":3}'})
        self.open(self.a, self.id, "four", t=b"4")
        self.assertEqual(self.data(), {b'{"k":1,"t":4}'})

    def test_a_change_while_the_store_was_away(self) -> None:
        for gone in ([], [self.a], [self.b]):
            self.away(*gone)
            self.change(self.a, self.first, k=b"%d" % len(self.a.journal.entries))
            self.back(*gone)
            self.assertEqual(self.data(), {self.first.session.now.app_data.encoded})

    def test_a_page_load_that_moves_is_let_go(self) -> None:
        in_flight = self.a.log(self.first, 2)
        moved = self.b.ask(self.id, "one")
        self.assertNoResult(moved)
        self.pump()
        opened = self.successResultOf(moved)
        self.successResultOf(in_flight)
        self.assertEqual((self.a.evicted, opened.last_payload_id), ([self.first], 2))
        self.log(self.b, opened, 2, 3)
        self.assertEqual(self.numbers(self.id), [1, 2, BLOCK + 1])
        self.assertEqual(self.a.live, {})

    def test_what_is_on_its_way_is_waited_for_though_another_tab_stays(self) -> None:
        self.open(self.a, self.id, "three")
        in_flight = self.a.log(self.first, 2)
        self.a.journal.stuck = True
        moved = self.b.ask(self.id, "one")
        self.pump()
        self.assertEqual(self.a.evicted, [self.first])
        self.assertNoResult(moved)
        self.a.journal.stuck = False
        self.pump()
        self.successResultOf(in_flight)
        self.assertEqual(self.successResultOf(moved).last_payload_id, 2)

    def test_a_page_load_that_moves_to_a_server_that_had_not_the_session(self) -> None:
        in_flight = self.b.log(self.second, 1)
        moved = self.c.ask(self.id, "two")
        self.pump()
        self.assertEqual(self.successResultOf(moved).last_payload_id, 1)
        self.successResultOf(in_flight)
        self.assertEqual((self.a.evicted, self.b.evicted), ([], [self.second]))
        self.assertEqual(self.first.session.neighbours, {"b", "c"})

    def test_a_payload_of_an_earlier_page_load(self) -> None:
        """It names the page load that it is of; that this one stored it another server must know."""
        self.log(self.a, self.first, 2)
        self.end(self.a, self.first)
        reloaded = self.open(self.b, self.id, "reloaded")
        self.log(self.b, evolve(reloaded, instance="one"), 2)
        self.assertEqual(self.numbers(self.id), [1, 2])

    def test_what_another_server_stored_is_no_longer_refused(self) -> None:
        third = self.open(self.a, self.id, "three")
        refused = self.a.log(self.first, 2)
        self.a.journal.commit(error=FULL)
        self.failureResultOf(refused, NotStored)
        moved = self.open(self.b, self.id, "one")
        self.log(self.b, moved, 2, 3)
        again = self.open(self.a, self.id, "one")
        self.assertEqual(again.last_payload_id, 3)
        self.log(self.a, again, 4)
        self.assertIn(third, third.session.sockets)

    def test_what_another_server_refused_has_to_come_first(self) -> None:
        refused = self.a.log(self.first, 2)
        self.a.journal.commit(error=FULL)
        self.failureResultOf(refused, NotStored)
        moved = self.open(self.b, self.id, "one")
        self.failureResultOf(self.b.log(moved, 3), NotStored)
        self.log(self.b, moved, 2, 3)

    def test_who_asks_while_this_one_asks_is_not_forgotten(self) -> None:
        moved = self.a.ask(self.id, "two")
        other = self.c.ask(self.id, "three")
        self.pump()
        self.successResultOf(moved)
        self.successResultOf(other)
        self.change(self.a, self.first, k=b"2")
        self.assertEqual(self.data(), {b'{"k":2}'})


class WokenAtOnceTests(SharingTestCase):
    """Two servers go on with a session that rests before either can see the other."""

    def setUp(self) -> None:
        super().setUp()
        first = self.open(self.a, None, "one", k=b"1")
        self.id = first.session.id
        self.log(self.a, first, 1)
        self.end(self.a, first)

    def both(self) -> list[Opened]:
        asked = [self.b.ask(self.id, "two", k=b"2"), self.c.ask(self.id, "three", k=b"3")]
        self.assertTrue(self.b.journal.waiting)
        self.assertTrue(self.c.journal.waiting)
        self.pump()
        return [self.successResultOf(each) for each in asked]

    def test_they_find_each_other(self) -> None:
        opened = self.both()
        known = [each.session.neighbours for each in opened]
        self.assertEqual(known, [{"c"}, {"b"}])
        for server, each in zip((self.b, self.c), opened, strict=True):
            self.log(server, each, 1)
        self.numbers(self.id)

    def test_they_come_to_have_the_same_data(self) -> None:
        one, two = self.both()
        self.b.change(one, x=b"1")
        self.pump()
        self.assertEqual(one.session.committed.app_data, two.session.committed.app_data)


class SamePageAtOnceTests(SharingTestCase):
    def test_one_of_two_handshakes_keeps_the_page(self) -> None:
        first = self.open(self.a, None, "tab")
        self.end(self.a, first)
        hold: Deferred[None] = Deferred()
        # Both have written that they have it open before either looks who else has.
        for server in (self.b, self.c):
            self.patch(server.sharing, "claim", partial(self.late, server.sharing.claim, hold))
        asked = [server.ask(first.session.id, "tab") for server in (self.b, self.c)]
        self.pump()
        hold.callback(None)
        self.pump()
        self.failureResultOf(asked[0], Superseded)
        kept = self.successResultOf(asked[1])
        self.assertEqual((len(kept.session.sockets), first.session.id in self.b.live), (1, False))
        self.log(self.c, kept, 1)

    async def late(self, claim: Callable[..., Any], hold: "Deferred[None]", *details: Any) -> None:
        await hold
        await claim(*details)


class OwedTests(SharingTestCase):
    def test_what_is_owed_here_was_stored_elsewhere(self) -> None:
        here = self.open(self.a, None, "tab")
        session = here.session
        refused = self.a.log(here, 1)
        self.a.journal.commit(error=FULL)
        self.failureResultOf(refused, NotStored)
        # The page stores it at another server while the first cannot say that it has let go.
        self.away(self.a)
        there = self.open(self.b, session.id, "tab")
        self.log(self.b, there, 1)
        self.back(self.a)
        late = self.a.log(here, 2)
        self.failureResultOf(late, NotStored)
        self.pump()
        self.log(self.a, here, 2)
