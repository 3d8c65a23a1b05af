"""What each server knows of a session, put together."""

from typing import Any

import msgspec
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.journal.entry import SessionRow
from logui_tx.journal.state import SessionState
from logui_tx.views import View, Whole, decode_views, encode_view, put_together

ROW = asdict(SessionRow("s", "f", "a", "logui-0.4", 5))


def view(last_seq: int = 10, **more: Any) -> View:
    given = {
        "row": ROW,
        "last_activity": 1_000,
        "numbers": [(1, 100)],
        "app_data": b"{}",
        "app_data_version": 0,
        "app_data_server": "",
        "payload_ids": {},
        "open": False,
    }
    return View(last_seq=last_seq, **(given | more))


def live(last_seq: int = 10, **more: Any) -> View:
    return view(last_seq, open=True, **more)


def state(last_seq: int = 10, **more: Any) -> SessionState:
    given = {
        "row": ROW,
        "number": 7,
        "version": 3,
        "last_activity": 1_000,
        "app_data": b"{}",
        "payload_ids": {},
    }
    return SessionState(last_seq=last_seq, **(given | more))


class PutTogetherTests(SynchronousTestCase):
    def whole(
        self,
        views: dict[str, View],
        found: SessionState | None = None,
        reserved: int | None = 100,
    ) -> Whole:
        whole = put_together(views, reserved, found, "me")
        assert whole is not None
        return whole

    # --- who knows it at all

    def test_nobody(self) -> None:
        self.assertIsNone(put_together({}, 0, None, "me"))
        self.assertIsNone(put_together({}, None, None, "me"))

    def test_erased_here(self) -> None:
        self.assertIsNone(put_together({"me": view()}, 100, None, "me"))
        self.assertIsNone(put_together({"me": view(), "you": view()}, 100, None, "me"))

    def test_the_journal_alone(self) -> None:
        found = state(app_data=b'{"k":1}', payload_ids={"a": 2}, refused={"a": [3]}, end_reason="lost")
        whole = self.whole({}, found)
        self.assertEqual(whole.state, found)
        self.assertEqual((whole.journal_data, whole.kept, whole.numbers), (b'{"k":1}', False, []))
        self.assertEqual((whole.app_data_version, whole.app_data_server), (0, "me"))
        self.assertEqual(whole.others, frozenset())

    def test_others_alone(self) -> None:
        whole = self.whole({"you": view(57, app_data=b'{"k":1}', app_data_version=4, app_data_server="you")})
        self.assertEqual((whole.state.number, whole.state.version, whole.journal_data), (0, 0, None))
        self.assertEqual((whole.state.row, whole.state.last_seq, whole.kept), (ROW, 57, True))
        # Numbers that another holds are not ours.
        self.assertEqual(whole.numbers, [])
        self.assertEqual(
            (whole.state.app_data, whole.app_data_version, whole.app_data_server), (b'{"k":1}', 4, "you")
        )

    def test_the_journals_own(self) -> None:
        whole = self.whole({"me": view(), "you": view(last_activity=2_000)}, state(app_data=b'{"j":1}'))
        self.assertEqual((whole.state.number, whole.state.version), (7, 3))
        self.assertEqual(whole.journal_data, b'{"j":1}')

    # --- blocks

    def numbers(self, own: View, last_seq: int, reserved: int | None) -> list[tuple[int, int]]:
        return self.whole({"me": own}, state(last_seq), reserved).numbers

    def test_a_block_of_ours_that_may_be_used(self) -> None:
        self.assertEqual(self.numbers(live(10), 10, 100), [(1, 100)])
        # Others hold more by now.
        self.assertEqual(self.numbers(live(10), 10, 300), [(1, 100)])
        # The journal knows more than our view.
        self.assertEqual(self.numbers(live(10), 99, 100), [(1, 100)])

    def test_a_block_that_is_used_up(self) -> None:
        self.assertEqual(self.numbers(live(10), 100, 100), [])

    def test_a_block_above_all_that_was_given(self) -> None:
        self.assertEqual(self.numbers(live(200, numbers=[(201, 300)]), 200, 300), [(201, 300)])
        self.assertEqual(self.numbers(live(57, numbers=[(1, 100), (201, 300)]), 57, 300), [(1, 100)])

    def test_a_block_below_what_another_gave(self) -> None:
        views = {"me": live(10), "you": live(150, numbers=[(101, 200)])}
        self.assertEqual(self.whole(views, state(10), 200).numbers, [])

    def test_a_block_that_was_given_back(self) -> None:
        self.assertEqual(self.numbers(view(10), 10, 10), [])
        # And others hold numbers of it by now.
        self.assertEqual(self.numbers(view(10), 10, 110), [])
        self.assertEqual(self.numbers(live(10), 10, 57), [])

    def test_a_store_that_is_away_was_given_nothing_back(self) -> None:
        self.assertEqual(self.numbers(view(10), 10, None), [(1, 100)])
        self.assertEqual(self.numbers(live(10), 10, None), [(1, 100)])

    # --- where it is open, and how it ended

    def test_open_elsewhere(self) -> None:
        views = {"me": view(open=True), "you": view(open=True, end_reason="lost"), "they": view()}
        whole = self.whole(views, state())
        self.assertEqual((whole.others, whole.state.end_reason), (frozenset({"you"}), None))

    def test_the_last_end_counts(self) -> None:
        views = {"you": view(last_activity=2_000, end_reason="closed"), "they": view(end_reason="lost")}
        self.assertEqual(self.whole(views).state.end_reason, "closed")
        self.assertEqual(self.whole(views).state.last_activity, 2_000)
        whole = self.whole(views, state(last_activity=3_000, end_reason="shutdownClient"))
        self.assertEqual((whole.state.end_reason, whole.state.last_activity), ("shutdownClient", 3_000))
        whole = self.whole(views, state(end_reason="shutdownClient"))
        self.assertEqual((whole.state.end_reason, whole.state.last_activity), ("closed", 2_000))

    def test_the_journal_knows_its_own_end(self) -> None:
        """This server was killed; its view says that it is open, its journal that it was lost."""
        whole = self.whole({"me": view(open=True)}, state(end_reason="lost"))
        self.assertEqual((whole.state.end_reason, whole.others), ("lost", frozenset()))

    # --- payloads

    def test_the_highest_payload_ids(self) -> None:
        views = {"me": view(payload_ids={"a": 5, "b": 1}), "you": view(payload_ids={"a": 3, "c": 9})}
        whole = self.whole(views, state(payload_ids={"b": 2}))
        self.assertEqual(whole.state.payload_ids, {"a": 5, "b": 2, "c": 9})

    def test_what_one_refused_and_none_stored(self) -> None:
        views = {
            "me": view(refused={"a": [3, 5], "b": [1]}, payload_ids={"a": 2}),
            "you": view(refused={"a": [6, 4], "c": [2]}, payload_ids={"a": 4, "b": 1}),
        }
        whole = self.whole(views, state(refused={"a": [5, 7]}))
        self.assertEqual(whole.state.refused, {"a": [5, 6, 7], "c": [2]})

    # --- application-specific data

    def data(self, views: dict[str, View], found: SessionState | None) -> tuple[bytes, int, str]:
        whole = self.whole(views, found)
        return whole.state.app_data, whole.app_data_version, whole.app_data_server

    def changed(self, version: int, server: str, **more: Any) -> View:
        data = b'{"%s":%d}' % (server.encode(), version)
        return view(app_data=data, app_data_version=version, app_data_server=server, **more)

    def test_the_last_change_counts(self) -> None:
        you, they, me = (self.changed(*each) for each in ((3, "you"), (2, "they"), (4, "me")))
        self.assertEqual(self.data({"you": you, "they": they}, None), (b'{"you":3}', 3, "you"))
        journal = state(app_data=me.app_data)
        self.assertEqual(self.data({"you": you, "me": me}, journal), (b'{"me":4}', 4, "me"))
        self.assertEqual(
            self.data({"you": self.changed(5, "you"), "me": me}, journal), (b'{"you":5}', 5, "you")
        )

    def test_of_changes_at_once_the_greater_name_wins(self) -> None:
        me, you, all_of_us = self.changed(3, "me"), self.changed(3, "you"), self.changed(3, "all")
        journal = state(app_data=me.app_data)
        self.assertEqual(self.data({"you": you, "me": me}, journal), (b'{"you":3}', 3, "you"))
        self.assertEqual(self.data({"all": all_of_us, "me": me}, journal), (b'{"me":3}', 3, "me"))

    def test_the_journal_is_written_before_the_view(self) -> None:
        me, you = self.changed(3, "me"), self.changed(2, "you")
        self.assertEqual(self.data({"you": you, "me": me}, state(app_data=b'{"j":1}')), (b'{"j":1}', 4, "me"))

    def test_the_store_has_forgotten_our_view(self) -> None:
        you = self.changed(2, "you", last_activity=2_000)
        older, newer = (state(app_data=b'{"j":1}', last_activity=at) for at in (1_000, 2_000))
        self.assertEqual(self.data({"you": you}, older), (b'{"you":2}', 2, "you"))
        self.assertEqual(self.data({"you": you}, newer), (b'{"j":1}', 3, "me"))


class DecodeViewsTests(SynchronousTestCase):
    def test_what_was_encoded(self) -> None:
        one = view(3, refused={"a": [1]}, end_reason="lost", open=True, payload_ids={"a": 1})
        self.assertEqual(decode_views({"you": encode_view(one)}), {"you": one})

    def test_what_cannot_be_read_is_left_out(self) -> None:
        good = encode_view(view())
        as_dict = msgspec.msgpack.decode(good)
        damaged = {
            "empty": b"",
            "short": good[:-1],
            "text": b"hello",
            "utf8": good.replace(b"flight_id", b"flight\xffid"),
            "other": msgspec.msgpack.encode({**as_dict, "last_seq": "many"}),
            "less": msgspec.msgpack.encode({k: v for k, v in as_dict.items() if k != "numbers"}),
        }
        self.assertEqual(decode_views({**damaged, "good": good}), {"good": view()})

    def test_a_newer_one_that_says_more(self) -> None:
        more = msgspec.msgpack.encode({**msgspec.msgpack.decode(encode_view(view())), "new": [1]})
        self.assertEqual(decode_views({"you": more}), {"you": view()})

    def test_a_row_of_another_version(self) -> None:
        newer, older, other = {**ROW, "mood": "good"}, dict(ROW), dict(ROW)
        del older["device"], other["dialect"]
        views = {name: encode_view(view(row=row)) for name, row in (("n", newer), ("o", older), ("x", other))}
        found = decode_views(views)
        self.assertEqual(set(found), {"n", "o"})
        self.assertEqual([SessionRow(**each.row) for each in found.values()], [SessionRow(**ROW)] * 2)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, text: bytes) -> None:
        self.assertLessEqual(set(decode_views({"you": text})), {"you"})


BLOCK = 10
instances = st.dictionaries(st.sampled_from("abc"), st.integers(1, 9))


@st.composite
def shared(draw: st.DrawFn) -> tuple[dict[str, View], int, SessionState]:
    """Views such as servers write: each holds blocks that no other holds, and gives numbers of its own.

    Who rests has given back its top block, if it was the top of all.
    """
    holders = draw(st.lists(st.sampled_from(["me", "you", "they"]), min_size=1, max_size=8))
    blocks: dict[str, list[tuple[int, int]]] = {}
    for at, name in enumerate(holders):
        blocks.setdefault(name, []).append((at * BLOCK + 1, (at + 1) * BLOCK))
    reserved = len(holders) * BLOCK
    views = {}
    for name, held in blocks.items():
        last_seq = draw(st.integers(held[0][0] - 1, held[-1][1]))
        at_rest = draw(st.booleans())
        if at_rest and held[-1][1] == reserved and last_seq >= held[-1][0] - 1:
            reserved = last_seq + draw(st.sampled_from([0, BLOCK]))
        views[name] = view(
            last_seq,
            numbers=held,
            payload_ids=draw(instances),
            refused=draw(st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(1, 9), unique=True))),
            open=not at_rest,
        )
    own = views.get("me")
    found = state(own.last_seq if own else draw(st.integers(0, 5)), payload_ids=draw(instances))
    return views, reserved, found


class AnyViewsTests(SynchronousTestCase):
    @given(shared())
    def test_of_any_views(self, known: tuple[dict[str, View], int, SessionState]) -> None:
        views, reserved, found = known
        whole = put_together(views, reserved, found, "me")
        assert whole is not None
        everybody = [*views.values(), found]
        self.assertEqual(whole.state.last_seq, max(each.last_seq for each in everybody))
        for instance in "abc":
            highest = max(each.payload_ids.get(instance, 0) for each in everybody)
            self.assertEqual(whole.state.payload_ids.get(instance, 0), highest)
            refused = whole.state.refused.get(instance, [])
            self.assertEqual(refused, sorted(set(refused)))
            self.assertTrue(all(each > highest for each in refused))
            for each in everybody:
                self.assertLessEqual({x for x in each.refused.get(instance, []) if x > highest}, set(refused))
        usable = {number for first, end in whole.numbers for number in range(first, end + 1)}
        for name, other in views.items():
            if name != "me":
                held = {number for first, end in other.numbers for number in range(first, end + 1)}
                self.assertFalse(usable & held)
        # What is reserved next lies above them, so nobody is given them again.
        self.assertLessEqual(max(usable, default=0), reserved)
        self.assertTrue(not usable or views["me"].open)
