"""Application-specific data as it changes."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.app_data import AppData

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text('a"\\{\ud83d', max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
changes = st.dictionaries(keys, values, max_size=4)


class AppDataTests(SynchronousTestCase):
    def test_empty(self) -> None:
        self.assertEqual((AppData().encoded, dict(AppData().values)), (b"{}", {}))
        self.assertEqual(AppData.decode(b"{}"), AppData())

    def test_set_override_delete(self) -> None:
        first = AppData().changed({"a": b"1", "b": b'{ "x" : [1, 2.0] }'})
        self.assertEqual(first.encoded, b'{"a":1,"b":{ "x" : [1, 2.0] }}')
        second = first.changed({"a": b"null", "c": b'"\\ud83d"', "b": b"false"})
        self.assertEqual(second.encoded, b'{"b":false,"c":"\\ud83d"}')
        self.assertEqual(first.encoded, b'{"a":1,"b":{ "x" : [1, 2.0] }}', "the old one is still what it was")
        self.assertEqual(second.changed({"b": b"null", "c": b"null"}).encoded, b"{}")

    def test_null_inside_a_value_stays(self) -> None:
        self.assertEqual(AppData().changed({"a": b'{"b":null}'}).encoded, b'{"a":{"b":null}}')

    def test_the_same_object_where_nothing_changes(self) -> None:
        data = AppData().changed({"a": b"1"})
        for change in [{}, {"a": b"1"}, {"unknown": b"null"}]:
            self.assertIs(data.changed(change), data)
        self.assertIsNot(data.changed({"a": b"1.0"}), data)

    def test_keys_are_escaped(self) -> None:
        data = AppData().changed({'"\\\n\u00fc': b"1"})
        self.assertEqual(json.loads(data.encoded), {'"\\\n\u00fc': 1})
        self.assertEqual(AppData.decode(data.encoded), data)

    @unhurried
    @given(st.lists(changes, max_size=5))
    def test_as_a_dictionary_does(self, all_changes: list[dict[str, object]]) -> None:
        data, expected = AppData(), {}
        for change in all_changes:
            data = data.changed({key: json.dumps(value).encode() for key, value in change.items()})
            expected = {k: v for k, v in {**expected, **change}.items() if v is not None}
            self.assertEqual(json.loads(data.encoded), expected)
            self.assertEqual(AppData.decode(data.encoded), data)
