"""What could not be written to a store that is away."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.model import Kept
from logui_tx.stores.redis.unwritten import CAPACITY, Unwritten


def kept(*names: str, view: bytes = b"view") -> dict[str, Kept]:
    return {name: Kept(view) for name in names}


class UnwrittenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.unwritten = Unwritten()

    def waiting(self) -> list[str]:
        """What waits, oldest first, taken out."""
        names: list[str] = []
        while self.unwritten:
            serial, sessions, _ = self.unwritten.first(1)
            names += sessions
            self.unwritten.written(serial, sessions)
        return names

    def test_nothing(self) -> None:
        self.assertEqual((len(self.unwritten), self.unwritten.capacity), (0, CAPACITY))
        self.assertFalse(self.unwritten)
        self.assertIsNone(self.unwritten.view("a"))
        self.assertEqual(self.unwritten.first(10), (0, {}, 0.0))
        self.unwritten.written(1, kept("a"))

    def test_what_waits_is_known(self) -> None:
        one = Kept(b"1", 1_000, 57)
        self.unwritten.add(1, {"a": one}, 60)
        self.assertEqual(self.unwritten.view("a"), b"1")
        self.assertEqual(self.unwritten.first(10), (1, {"a": one}, 60))
        self.assertEqual(len(self.unwritten), 1)

    def test_the_newest_view_of_a_session_waits(self) -> None:
        self.unwritten.add(1, kept("a", view=b"1"), 60)
        self.unwritten.add(2, kept("a", view=b"2"), 60)
        self.assertEqual(self.unwritten.view("a"), b"2")
        # The answer to an earlier save may come later.
        self.unwritten.add(1, kept("a", view=b"1"), 60)
        self.assertEqual((self.unwritten.view("a"), len(self.unwritten)), (b"2", 1))
        self.unwritten.add(2, kept("a", view=b"again"), 60)
        self.assertEqual(self.unwritten.view("a"), b"again")

    def test_who_is_added_again_waits_behind_the_others(self) -> None:
        self.unwritten.add(1, kept("a", "b"), 60)
        self.unwritten.add(2, kept("a"), 60)
        self.assertEqual(self.waiting(), ["b", "a"])

    def test_what_was_written_is_gone(self) -> None:
        self.unwritten.add(5, kept("a", "b"), 60)
        self.unwritten.written(5, kept("a", "other"))
        self.assertEqual((self.unwritten.view("a"), self.unwritten.view("b")), (None, b"view"))
        self.unwritten.written(6, kept("b"))
        self.assertFalse(self.unwritten)

    def test_what_was_added_since_stays(self) -> None:
        self.unwritten.add(5, kept("a"), 60)
        serial, sessions, _ = self.unwritten.first(10)
        self.unwritten.add(6, kept("a", view=b"newer"), 60)
        self.unwritten.written(serial, sessions)
        self.assertEqual(self.unwritten.view("a"), b"newer")

    def test_not_more_than_asked_and_with_one_time(self) -> None:
        for serial, (name, ttl) in enumerate([("a", 60), ("b", 60), ("c", 60), ("d", 30), ("e", 60)], 1):
            self.unwritten.add(serial, kept(name), ttl)
        for most, expected in ((2, (2, ["a", "b"], 60)), (9, (3, ["a", "b", "c"], 60)), (1, (1, ["a"], 60))):
            serial, sessions, ttl = self.unwritten.first(most)
            self.assertEqual((serial, list(sessions), ttl), expected)
        self.unwritten.written(3, kept("a", "b", "c"))
        self.assertEqual(self.unwritten.first(9), (4, kept("d"), 30))

    def test_the_highest_serial_of_those_that_are_taken(self) -> None:
        # Serials need not rise: an earlier save may be refused after a later one.
        self.unwritten.add(7, kept("a"), 60)
        self.unwritten.add(3, kept("b"), 60)
        self.assertEqual(self.unwritten.first(9)[0], 7)
        self.unwritten.written(7, kept("a", "b"))
        self.assertFalse(self.unwritten)

    def test_the_oldest_go_first_where_there_are_too_many(self) -> None:
        self.unwritten = Unwritten(capacity=10)
        self.unwritten.add(1, kept("a", "b", view=b"12345"), 60)
        self.unwritten.add(2, kept("c", view=b"1"), 60)
        self.assertEqual(self.waiting(), ["b", "c"])

    def test_one_too_large_for_all(self) -> None:
        self.unwritten = Unwritten(capacity=10)
        self.unwritten.add(1, kept("a", view=b"1"), 60)
        self.unwritten.add(2, kept("b", view=b"x" * 11), 60)
        self.assertEqual(self.waiting(), [])
        self.unwritten.add(3, kept("a", view=b"x" * 10), 60)
        self.assertEqual(self.waiting(), ["a"])

    @given(
        st.lists(
            st.one_of(
                st.tuples(
                    st.just("add"),
                    st.integers(0, 5),
                    st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=6)),
                    st.sampled_from([30.0, 60.0]),
                ),
                st.tuples(st.just("written"), st.integers(0, 5), st.sets(st.sampled_from("abcd")), st.none()),
                st.tuples(st.just("first"), st.integers(1, 3), st.none(), st.none()),
            ),
            max_size=60,
        )
    )
    def test_against_a_dict(self, steps: list[tuple]) -> None:
        """Serials come nearly in order, as answers do; ``written`` tells of what was sent."""
        unwritten = Unwritten(capacity=20)
        model: dict[str, tuple[int, bytes, float]] = {}
        for at, (what, number, given_now, ttl) in enumerate(steps):
            serial = 10 + at - number
            if what == "add":
                sessions = {name: Kept(view) for name, view in given_now.items()}
                unwritten.add(serial, sessions, ttl)
                for name, view in given_now.items():
                    if name not in model or model[name][0] <= serial:
                        model.pop(name, None)
                        model[name] = serial, view, ttl
                while sum(len(view) for _, view, _ in model.values()) > 20:
                    del model[next(iter(model))]
            elif what == "written":
                unwritten.written(serial, kept(*given_now))
                drop(model, serial, given_now)
            else:
                highest, taken, time = unwritten.first(number)
                self.assertTrue(len(taken) <= number and bool(taken) == bool(model))
                self.assertEqual(list(taken), list(model)[: len(taken)])
                self.assertEqual(highest, max((model[name][0] for name in taken), default=0))
                self.assertLessEqual({model[name][2] for name in taken}, {time})
                unwritten.written(highest, taken)
                drop(model, highest, taken)
            self.assertEqual(len(unwritten), len(model))
            for name in "abcd":
                self.assertEqual(unwritten.view(name), model[name][1] if name in model else None)


def drop(model: dict[str, tuple[int, bytes, float]], serial: int, names: Iterable[str]) -> None:
    for name in names:
        if name in model and model[name][0] <= serial:
            del model[name]
