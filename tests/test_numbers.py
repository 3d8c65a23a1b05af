"""Blocks of sequence numbers."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.numbers import BLIND, BLOCK, MOST, Numbers


class NumbersTests(SynchronousTestCase):
    def test_any(self) -> None:
        numbers = Numbers.any()
        self.assertEqual(numbers.first(0, 5_000), 1)
        self.assertEqual(numbers.first(41, 1), 42)
        self.assertEqual(numbers.first(MOST - 1, 1), MOST)
        self.assertIsNone(numbers.first(MOST, 1))
        self.assertEqual((numbers.end, numbers.left(0)), (MOST, MOST))

    def test_a_block_is_used_from_its_first_to_its_last(self) -> None:
        numbers = Numbers([(11, 20)])
        self.assertEqual(numbers.first(7, 3), 11)
        self.assertEqual(numbers.first(17, 3), 18)
        self.assertIsNone(numbers.first(18, 3))
        self.assertEqual([numbers.left(last) for last in (0, 10, 11, 19, 20, 30)], [10, 10, 9, 1, 0, 0])

    def test_an_empty_payload_takes_none(self) -> None:
        self.assertEqual(Numbers([(1, 10)]).first(10, 0), 11)
        self.assertEqual(Numbers([(11, 20)]).first(5, 0), 11)

    def test_numbers_in_a_row_come_from_one_block(self) -> None:
        numbers = Numbers([(1, 10)])
        numbers.add(31, 40, 5)
        self.assertEqual(numbers.first(8, 2), 9)
        self.assertEqual(numbers.first(8, 3), 31)
        self.assertEqual((numbers.left(8), numbers.end), (12, 40))

    def test_blocks_that_touch_become_one(self) -> None:
        numbers = Numbers([(1, 10)])
        numbers.add(11, 20, 5)
        self.assertEqual(numbers.blocks, [(1, 20)])

    def test_blocks_that_are_used_up_go(self) -> None:
        numbers = Numbers([(1, 10)])
        numbers.add(31, 40, 10)
        self.assertEqual(numbers.blocks, [(31, 40)])

    def test_blind_numbers_are_above_any_block_of_the_store(self) -> None:
        for last, above in ((0, 1), (57, 1), (BLIND + 3, 2)):
            ((first, end),) = Numbers.blind(last, "here").blocks
            self.assertEqual((end - first + 1, first % BLOCK), (BLOCK, 1))
            self.assertTrue(above * BLIND < first and end <= (above + 1) * BLIND)

    def test_servers_that_are_cut_off_at_once_have_each_a_place(self) -> None:
        names = [
            "a",
            "b",
            "c",
            "90a7c1de-2f34-4a55-8a06-0f4f6c9a1b11",
            "0b9e8f2c-77b1-4b7f-9c55-3d2f1e0a9988",
        ]
        self.assertEqual(len({Numbers.blind(5, name).end for name in names}), len(names))
        self.assertEqual(Numbers.blind(5, "a"), Numbers.blind(7, "a"))

    def test_what_may_be_given_back(self) -> None:
        self.assertEqual(Numbers([(1, 10)]).unused_above(7, "a"), 7)
        self.assertEqual(Numbers([(1, 10), (31, 40)]).unused_above(35, "a"), 35)
        self.assertEqual(Numbers([(1, 10), (31, 40)]).unused_above(7, "a"), 30)
        self.assertIsNone(Numbers.blind(5, "a").unused_above(BLIND, "a"))

    @given(
        st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1),
        st.lists(st.integers(0, 9), max_size=200),
    )
    def test_no_number_twice_and_all_from_the_blocks(
        self, steps: list[tuple[int, int]], payloads: list[int]
    ) -> None:
        allowed: set[int] = set()
        end = last = 0
        numbers: Numbers | None = None
        waiting = list(payloads)
        for gap, length in steps:
            first, end = end + gap + 1, end + gap + length
            allowed.update(range(first, end + 1))
            if numbers is None:
                numbers = Numbers([(first, end)])
            else:
                numbers.add(first, end, last)
            while waiting:
                start = numbers.first(last, waiting[0])
                if start is None:
                    break
                given_now = set(range(start, start + waiting.pop(0)))
                self.assertGreater(start, last)
                self.assertLessEqual(given_now, allowed)
                last = max(given_now, default=last)
            self.assertEqual(numbers.left(last), sum(number > last for number in allowed))
