"""A flight's listeners, sampling and metadata."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import InvalidSetting
from logui_tx.model import LISTENERS
from logui_tx.registry.flight_settings import (
    MAX_METADATA,
    MAX_SAMPLE_MOVES,
    checked_listeners,
    checked_metadata,
    checked_sample_moves,
)

numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)


class ListenerTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from(LISTENERS)))
    def test_each_once_in_their_order(self, names: list[str]) -> None:
        self.assertEqual(checked_listeners(names), tuple(name for name in LISTENERS if name in names))

    def test_unknown(self) -> None:
        error = str(self.assertRaises(InvalidSetting, checked_listeners, ["scroll", "MouseMove"]))
        self.assertIn("no listener 'MouseMove' (did you mean 'mousemove'?)", error)
        for name in LISTENERS:
            self.assertIn(name, error)
        error = str(self.assertRaises(InvalidSetting, checked_listeners, ["\x1b[2J" + "x" * 1000]))
        self.assertNotIn("did you mean", error)
        self.assertNotIn("\x1b", error)
        self.assertLess(len(error), 300)


class SampleMovesTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        for good in (0, 1, MAX_SAMPLE_MOVES):
            self.assertEqual(checked_sample_moves(good), good)
        for bad in (-1, MAX_SAMPLE_MOVES + 1):
            self.assertRaises(InvalidSetting, checked_sample_moves, bad)


class MetadataTests(SynchronousTestCase):
    @given(st.dictionaries(texts, values, max_size=4), st.sampled_from([None, 1]), st.booleans())
    def test_any_object_stays_what_it_is(self, value: Any, indent: int | None, ascii_only: bool) -> None:
        kept = checked_metadata(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
        self.assertEqual(json.loads(kept), value)
        self.assertEqual(checked_metadata(kept), kept)

    @given(st.text(max_size=50))
    def test_any_text_is_an_object_or_refused(self, text: str) -> None:
        try:
            kept = checked_metadata(text)
        except InvalidSetting:
            return
        self.assertIsInstance(json.loads(kept), dict)

    def test_numbers_stay_as_written(self) -> None:
        self.assertEqual(checked_metadata('{ "a" : 1.50, "b": 10e2 }'), '{"a":1.50,"b":10e2}')

    def test_refused(self) -> None:
        for text, why in [
            ("", "not valid JSON"),
            ("{", "not valid JSON"),
            ('{"a": NaN}', "not valid JSON"),
            ('{"a": -Infinity}', "not valid JSON"),
            ('{"a": 1e999}', "not valid JSON"),
            ('{"a": "\\ud800"}', "not valid JSON"),
            ('{"a": "\ud800"}', "encoding"),
            ('{"a": "\x00"}', "not valid JSON"),
            ("[]", "must be a JSON object"),
            ("null", "must be a JSON object"),
            ('"text"', "must be a JSON object"),
            ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ]:
            error = self.assertRaises(InvalidSetting, checked_metadata, text)
            self.assertIn(why, str(error), text[:20])
            self.assertLess(len(str(error)), 200)

    def test_size(self) -> None:
        """What counts is what is kept."""
        most = MAX_METADATA - len('{"a":""}')
        self.assertEqual(len(checked_metadata('{"a":   "' + "x" * most + '"}')), MAX_METADATA)
        error = self.assertRaises(InvalidSetting, checked_metadata, '{"a":"' + "x" * most + 'x"}')
        self.assertIn("16385 bytes, 16384 are allowed", str(error))
        self.assertRaises(InvalidSetting, checked_metadata, '{"a":"' + "\u00e4" * (most // 2 + 1) + '"}')
