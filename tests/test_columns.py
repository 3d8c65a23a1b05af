"""Packed columns: what was packed is there, what does not hold is told, and small things stay small."""

import msgpack
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.journal.columns import pack_columns, unpack_columns

numbers = st.integers(-(2**63), 2**63 - 1)
tables = st.integers(1, 40).flatmap(
    lambda rows: st.lists(
        st.one_of(
            st.lists(numbers, min_size=rows, max_size=rows),
            st.lists(st.integers(0, 300), min_size=rows, max_size=rows),
            numbers.map(lambda number: [number] * rows),
        ),
        min_size=1,
        max_size=9,
    )
)


class ColumnsTests(SynchronousTestCase):
    @given(tables)
    def test_what_was_packed_is_there(self, columns: list[list[int]]) -> None:
        self.assertEqual(unpack_columns(pack_columns(columns), len(columns)), columns)

    def test_nothing(self) -> None:
        self.assertEqual(unpack_columns(pack_columns([]), 3), [[], [], []])
        self.assertEqual(unpack_columns(pack_columns([[], []]), 2), [[], []])

    def test_as_few_bytes_as_the_largest_needs(self) -> None:
        for spread, width in (
            (0, 0),
            (1, 1),
            (255, 1),
            (256, 2),
            (65_536, 3),
            (1 << 32, 5),
            ((1 << 64) - 1, 8),
        ):
            least = -(1 << 63)
            count, bases, widths, planes = msgpack.unpackb(pack_columns([[least, least + spread, least]]))
            self.assertEqual((count, bases, widths, len(planes)), (3, [least], [width], 3 * width))

    def test_as_documented(self) -> None:
        packed = pack_columns([[7, 7, 7], [1000, 1258, 1001]])
        self.assertEqual(msgpack.unpackb(packed), [3, [7, 0], [0, 2], b"\xe8\xea\xe9\x03\x04\x03"])
        packed = pack_columns([[1000, 1004, 1001], [-1, 1, 0]])
        self.assertEqual(msgpack.unpackb(packed), [3, [1000, -1], [1, 1], b"\0\x04\x01\0\x02\x01"])

    @given(st.binary(max_size=60))
    def test_any_bytes(self, noise: bytes) -> None:
        try:
            unpack_columns(noise, 2)
        except ValueError:
            return

    def test_what_does_not_hold(self) -> None:
        for table in (
            [2, [1], [0], b""],
            [2, [1, 2, 3], [0, 0, 0], b""],
            [2, [1, 2], [0], b""],
            [2, [1, 2], [0, 1], b"1"],
            [2, [1, 2], [0, 1], b"123"],
            [2, [1, 2], [9, 0], b"1" * 18],
            [2, [1, 2], [2, -1], b"12"],
            [-1, [1, 2], [0, 0], b""],
            [1 << 40, [1, 2], [0, 0], b""],
            [2, [1, 2], [0, 0]],
            "text",
        ):
            self.assertRaises(ValueError, unpack_columns, msgpack.packb(table), 2)
