"""LogUI 0.4 reads a payload in one typed pass, or carefully: both must mean the same, for any message."""

import json
from typing import Any

from attrs import frozen
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.dialects.logui04 import MAX_INSTANCE, MAX_PAYLOAD_ID, LogUI04
from logui_tx.dialects.times import MAX_TIME, to_iso_8601, to_milliseconds
from logui_tx.errors import BadEvent, BadRequest
from logui_tx.model import AppDataChange, Batch, Event

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

dialect = LogUI04(max_events=4)
T = 1_795_306_226_888


@frozen
class Written:
    """A piece of JSON text that is to stand in a message as it is."""

    text: str


def write(something: Any) -> str:
    """JSON where objects are lists of pairs, so that a key may stand twice."""
    if isinstance(something, Written):
        return something.text
    if isinstance(something, tuple):
        return "{" + ",".join(f"{write(k)}: {write(v)}" for k, v in something) + "}"
    if isinstance(something, list):
        return "[ " + ", ".join(map(write, something)) + "]"
    return json.dumps(something)


texts = st.text(st.sampled_from('ab"\\{}[]\u00e9\ud83d\ude00\U0001f600'), max_size=6)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(-1e300, 1e300), texts)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.lists(st.tuples(texts, inner), max_size=2).map(tuple)
    ),
    max_leaves=4,
)
times = st.one_of(
    st.integers(10**11, MAX_TIME),
    st.integers(-(10**12), 10**12),
    st.floats(0, 1e13),
    st.integers(0, 10**13).map(str),
    st.integers(-MAX_TIME, MAX_TIME).map(to_iso_8601),
    st.sampled_from([Written("1.795306226888e12"), Written("1E3"), Written('"\\u0031"'), Written("-0")]),
)
bad_times = st.one_of(
    st.sampled_from([MAX_TIME + 1, -MAX_TIME, 10**25, "soon", "", "NaN", True, None]),
    st.sampled_from([Written(t) for t in ["1e400", "-1e400", "9" * 400, "-0.0", "1e-400", '"\\ud83d"']]),
    anything,
)


def rarely(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda n: bad if n == 0 else good)


def keyed(name: str, *others: str) -> st.SearchStrategy[Any]:
    """The key, sometimes written with an escape, seldom another one."""
    escaped = Written(f'"\\u{ord(name[0]):04x}{name[1:]}"')
    return rarely(st.sampled_from([name, name, escaped]), st.sampled_from([name.lower(), *others, "x"]))


more = st.lists(st.tuples(texts, anything), max_size=2)
stamps = st.tuples(keyed("clientDateTime"), rarely(times, bad_times))
event = st.tuples(more, st.lists(stamps, min_size=1, max_size=2), more).flatmap(
    lambda parts: st.permutations([*parts[0], *parts[1], *parts[2]]).map(tuple)
)
events = st.lists(rarely(event, anything), max_size=5)
fields = {
    "payloadType": rarely(
        st.just("LogUIEventPayload"),
        st.sampled_from(["LogUIHandshake", "LogUIAppSpecificLogDataChange", 1, None]),
    ),
    "eventsToBeLogged": rarely(events, anything),
    "payloadID": rarely(
        st.integers(1, 9),
        st.sampled_from([0, MAX_PAYLOAD_ID, MAX_PAYLOAD_ID + 1, 1.0, 2.5, "1", None, True, 10**20])
        | st.sampled_from([Written("1.0"), Written("1e0"), Written("-0"), Written("9007199254740991.0")]),
    ),
    "session": rarely(st.sampled_from(["leavingPage", "shutdownClient"]), scalars),
    "clientInstance": rarely(st.text(max_size=4), scalars | st.just("\u00e9" * (MAX_INSTANCE + 1))),
}


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """An event payload, mostly in order, keys in any order and sometimes twice."""
    members = []
    for name, strategy in fields.items():
        times_ = (
            draw(rarely(st.just(1), st.sampled_from([0, 2]))) if name[0] in "pe" else draw(st.integers(0, 2))
        )
        members += [(draw(keyed(name)), draw(strategy)) for _ in range(times_)]
    members += draw(st.lists(st.tuples(texts, anything), max_size=1))
    return write(tuple(draw(st.permutations(members)))).encode()


def outcome(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except BadEvent as error:
        return BadEvent, str(error), error.position, error.copy
    except BadRequest as error:
        return BadRequest, str(error)


DEEP = b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[{"clientDateTime":1,"a":%s}]}'


def payload(events: bytes, more: bytes = b"") -> bytes:
    return b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[%s]%s}' % (events, more)


class TwoWaysTests(SynchronousTestCase):
    @settings(unhurried, max_examples=400)
    @given(payloads())
    @example(payload(b'{"clientDateTime":1},{"clientDateTime":8640000000000001}'))
    @example(payload(b",".join([b'{"clientDateTime":1}'] * 5)))
    @example(payload(b'{"clientDateTime":1}', b',"payloadID":1.0'))
    @example(payload(b'{"clientDateTime":99999999999999999999}'))
    @example(payload(b'{"clientDateTime":-99999999999999999999}'))
    @example(payload(b'{"clientDateTime":true,"clientDateTime":1}', b',"payloadID":0,"payloadID":3'))
    @example(DEEP % (b"[" * 510 + b"]" * 510))
    @example(DEEP % (b"[" * 509 + b"]" * 509))
    @example(DEEP % (b"[" * 5000 + b"]" * 5000))
    def test_the_quick_way_means_the_same(self, message: bytes) -> None:
        self.assertEqual(outcome(dialect.read, message, False), outcome(dialect._read_carefully, message))

    @unhurried
    @given(payloads(), st.data())
    def test_also_where_bytes_are_damaged(self, message: bytes, data: st.DataObject) -> None:
        """Still UTF-8: a text frame that is not never gets here, WebSocket closes with 1007."""
        at = data.draw(st.integers(0, len(message) - 1))
        new = data.draw(st.sampled_from(list(b'{}[]",:\\0e-.x \x00\x7f')) | st.none())
        damaged = message[:at] + (b"" if new is None else bytes([new])) + message[at + 1 :]
        self.assertEqual(outcome(dialect.read, damaged, False), outcome(dialect._read_carefully, damaged))

    @unhurried
    @given(st.binary() | st.text('{}[]":, \\ud83e1nul').map(str.encode), st.booleans())
    def test_any_bytes_are_read_or_a_bad_request(self, message: bytes, binary: bool) -> None:
        self.assertRaises(BadRequest, dialect.read, message, binary)

    def test_the_quick_way_is_taken(self) -> None:
        """The careful way is several times slower: nothing that clients really send may need it."""

        class OnlyQuick(LogUI04):
            def _read_carefully(self, message: bytes) -> Batch | AppDataChange:
                raise AssertionError(message)

        for stamp in [T, T / 1000, T // 1000, f'"{T}"', '"2026-11-22T00:10:26.888Z"']:
            message = payload(
                b'{"clientDateTime":%s,"x":{"y":[1.5,null]}}' % str(stamp).encode(), b',"payloadID":3'
            )
            self.assertEqual(OnlyQuick().read(message, False), Batch(1, payload_id=3))


class EventsTests(SynchronousTestCase):
    @settings(unhurried, max_examples=200)
    @given(st.lists(event, max_size=4), st.booleans(), st.sampled_from(["", " ", "\r\n\t"]))
    def test_exactly_what_the_client_sent(self, listed: list[Any], half: bool, space: str) -> None:
        texts = [write(one) for one in listed]
        text = f"{space},{space}".join(texts)
        extra = ',"x":"\\ud83d"' if half else ""
        kind = '"payloadType":"LogUIEventPayload"'
        message = f'{{"a":[{{}}],{kind},"eventsToBeLogged":{space}[{space}{text}{space}]{extra}}}'.encode()
        if not isinstance(outcome(dialect.read, message, False), Batch):
            return
        expected = [json.loads(text) for text in texts]
        found = list(dialect.events(message))
        self.assertEqual([one.raw for one in found], [text.encode() for text in texts])
        self.assertEqual(
            [one.client_time for one in found], [to_milliseconds(one["clientDateTime"]) for one in expected]
        )

    @settings(unhurried, max_examples=200)
    @given(payloads())
    def test_as_many_as_were_read(self, message: bytes) -> None:
        batch = outcome(dialect.read, message, False)
        if isinstance(batch, Batch):
            found = list(dialect.events(message))
            self.assertEqual(len(found), batch.events)
            self.assertTrue(all(one.client_time is not None for one in found))

    def test_the_last_of_equal_keys(self) -> None:
        first = b'"eventsToBeLogged":[{"clientDateTime":1},7]'
        message = payload(b'{"clientDateTime":"x","clientDateTime":2}').replace(
            b'"eventsTo', first + b',"eventsTo'
        )
        self.assertEqual(dialect.read(message, False), Batch(1))
        self.assertEqual(
            list(dialect.events(message)), [Event(b'{"clientDateTime":"x","clientDateTime":2}', 2000)]
        )

    def test_the_surroundings_are_left_out(self) -> None:
        message = payload(
            b' { "clientDateTime" : 1.5 } ,\n{"clientDateTime":"1970-01-01 00:00","e":"\\ud83d"}'
        )
        self.assertEqual(
            list(dialect.events(message)),
            [
                Event(b'{ "clientDateTime" : 1.5 }', 1500),
                Event(b'{"clientDateTime":"1970-01-01 00:00","e":"\\ud83d"}', 0),
            ],
        )
