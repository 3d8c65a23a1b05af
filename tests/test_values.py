"""JSON values as texts and times."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.dialects import values
from logui_tx.dialects.times import MAX_TIME, to_milliseconds

TIMES = (
    st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False) | st.text("2026-1T:. Z")
)


class ValueTests(SynchronousTestCase):
    def test_text(self) -> None:
        for written, found in (
            (b'"a"', "a"),
            (b'""', ""),
            (b"1", None),
            (b"null", None),
            (b'"\\ud83d"', None),
        ):
            self.assertEqual(values.text(written), found)
        for wrong in (b"1", b"null", b'"\\ud83d"', b"", b'"', b"\xff", b'"\xff"', b"[" * 10_000):
            self.assertIsNone(values.text(wrong))

    def test_short_text(self) -> None:
        self.assertEqual(values.short_text(b'"abc"', "k", 3, ValueError), "abc")
        for wrong in (b'"abcd"', b"1"):
            error = self.assertRaises(ValueError, values.short_text, wrong, "k", 3, ValueError)
            self.assertEqual(str(error), "'k' must be a string of at most 3 characters.")

    def test_event_time(self) -> None:
        self.assertEqual(values.event_time(b'{"t": 1, "u": 2}', "t"), 1000)
        for wrong in (b"{}", b'{"t": null}', b"[]", b"", b'{"t": "x"}', b'{"t": true}', b'{"t": 1e400}'):
            self.assertIsNone(values.event_time(wrong, "t"))

    @given(TIMES)
    def test_one_time(self, stamp: Any) -> None:
        self.assertEqual(values.time(json.dumps(stamp).encode()), to_milliseconds(stamp))

    @given(st.lists(TIMES | st.sampled_from([0, 10**11, 10**12, MAX_TIME, MAX_TIME + 1, True])))
    def test_many_times(self, stamps: list[Any]) -> None:
        expected = [to_milliseconds(stamp) for stamp in stamps]
        self.assertEqual(values.milliseconds(stamps), expected)
        try:
            read = msgspec.json.decode(json.dumps(stamps), type=list[values.Time])
        except msgspec.ValidationError:
            self.assertTrue(
                any(type(stamp) is not str and not 0 <= stamp <= MAX_TIME for stamp in stamps)
                or True in stamps
            )
        else:
            self.assertEqual(values.are_times(read), None not in expected)
