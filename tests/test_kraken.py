"""DataKraken's messages as they are read and written."""

import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from logui_tx.dialects import kraken
from logui_tx.dialects.kraken import MAX_DEVICE, TYPES, Kraken
from logui_tx.errors import BadEvent, BadRequest, HandshakeRefused, Refusal
from logui_tx.interfaces import IDialect
from logui_tx.model import LISTENERS, Batch, Close, Event, Hello, Leave, Receipt, Reply, Welcome

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

T = 1_795_306_226_888
CLICK = {"type": 0, "timestamp": T, "event": {"X": 1, "Y": 2.5, "target": "#buy"}}
MISSING = object()
dialect = Kraken()


def changed(**changes: Any) -> dict[str, Any]:
    return {k: v for k, v in {**CLICK, **changes}.items() if v is not MISSING}


def raw(message: Any) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()


class KrakenTestCase(SynchronousTestCase):
    def read(self, message: Any, using: Kraken = dialect) -> Any:
        return using.read(raw(message), False)

    def bad_request(self, message: Any, says: str = "", binary: bool = False) -> None:
        error = self.assertRaises(BadRequest, dialect.read, raw(message), binary)
        self.assertNotIsInstance(error, BadEvent)
        self.assertIn(says, str(error))

    def bad_event(self, event: Any, says: str = "", using: Kraken = dialect) -> None:
        """Alone, and in an array."""
        if raw(event)[:1] == b"{":
            error = self.assertRaises(BadEvent, self.read, event, using)
            self.assertEqual((error.position, error.copy), (None, raw(event)))
            self.assertIn(says, str(error))
        array = b"[%b, %b]" % (raw({"type": 9, "timestamp": 1}), raw(event))
        error = self.assertRaises(BadEvent, self.read, array, using)
        self.assertEqual((error.position, error.copy), (1, raw(event)))
        self.assertIn("position 1", str(error))
        self.assertIn(says, str(error))


class StartTests(KrakenTestCase):
    def hello(self, meta: Any = MISSING) -> Hello:
        return dialect.read_hello(
            raw({"type": "start"} if meta is MISSING else {"type": "start", "meta": meta}), False
        )

    def test_everything(self) -> None:
        hello = self.hello(
            {"device": {"os": "Macintosh", "browser": "Chrome"}, "referrer": "https://g.example"}
        )
        device = '{"os":"Macintosh","browser":"Chrome"}'
        self.assertEqual(hello, Hello("", None, {}, referrer="https://g.example", device=device))

    def test_little(self) -> None:
        for meta in (
            MISSING,
            None,
            {},
            {"device": None, "referrer": None},
            {"device": {}},
            {"device": {"os": ""}},
        ):
            self.assertEqual(self.hello(meta), Hello("", None, {}))
        self.assertEqual(self.hello({"device": {"os": "L", "model": 1}}).device, '{"os":"L"}')

    def test_bounded(self) -> None:
        hello = self.hello({"device": {"os": "x" * 9000, "browser": "\0"}, "referrer": "r" * 9000})
        told = json.loads(hello.device or "")
        self.assertEqual(told, {"os": "x" * MAX_DEVICE, "browser": "\0"})
        self.assertEqual(len(hello.referrer or ""), 8192)

    def test_bad(self) -> None:
        for meta in (
            [],
            1,
            "",
            {"device": []},
            {"device": "x"},
            {"device": {"os": 1}},
            {"referrer": []},
            {"device": {"browser": "\ud83d"}},
        ):
            self.assertRaises(BadRequest, self.hello, meta)

    def test_something_else_first(self) -> None:
        for message in (
            CLICK,
            [CLICK],
            [],
            {},
            {"type": "close"},
            {"type": "START"},
            b"",
            b"x",
            b"5",
            b"\xff",
        ):
            self.assertRaises(BadRequest, dialect.read_hello, raw(message), False)
        self.assertRaises(BadRequest, dialect.read_hello, raw({"type": "start"}), True)

    @unhurried
    @given(st.binary() | st.text('{}[]":, \\ud83e1nultypestart').map(str.encode), st.booleans())
    def test_any_bytes(self, message: bytes, binary: bool) -> None:
        self.assertRaises(BadRequest, dialect.read_hello, message, binary)


class EventTests(KrakenTestCase):
    def test_one_or_many(self) -> None:
        self.assertEqual(self.read(CLICK), Batch(1))
        self.assertEqual(self.read([CLICK] * 3), Batch(3))
        self.assertEqual(self.read([]), Batch(0))
        self.assertEqual(self.read(b" \n" + raw([CLICK]) + b" "), Batch(1))

    def test_every_type(self) -> None:
        self.assertEqual(list(TYPES), [0, 1, 2, 3, 4, 5, 6, 7, 9])
        for number in TYPES:
            self.assertEqual(self.read(changed(type=number)), Batch(1))
        for number in TYPES.keys() - {0, 1}:
            self.assertEqual(self.read({"type": number, "timestamp": "2026-11-22T00:00Z"}), Batch(1))

    def test_what_is_no_event(self) -> None:
        for number in (8, 10, -1, 1.0, True, None, 2**70, MISSING):
            self.bad_event(changed(type=number), "'type'")
        for event in (b"1", b"null", b'"x"', b"[]", b"{}"):
            self.bad_event(event)
        for word in ("start", "close"):
            error = self.assertRaises(BadEvent, self.read, [{"type": word}])
            self.assertEqual(error.position, 0)

    def test_the_time(self) -> None:
        for time in (0, 1.5, "1795306226888", "2026-11-22T00:10:26.888Z", -1):
            self.assertEqual(self.read(changed(timestamp=time)), Batch(1))
        for time in (None, True, "", "x", [], {}, 10**17, MISSING):
            self.bad_event(changed(timestamp=time), "'timestamp'")

    def test_the_place(self) -> None:
        for number in (0, 1):
            for x in (0, -3, 1.25, 10**40):
                self.assertEqual(self.read(changed(type=number, event={"X": x, "Y": 0})), Batch(1))
            for event in (
                MISSING,
                None,
                [],
                1,
                {},
                {"X": 1},
                {"X": 1, "Y": None},
                {"X": "1", "Y": 1},
                {"X": True, "Y": 1},
                {"X": 1, "Y": 10**400},
            ):
                self.bad_event(changed(type=number, event=event), "'X' and 'Y'")
        self.bad_event(b'{"type":0,"timestamp":1,"event":{"X":1e999,"Y":1}}', "'X' and 'Y'")

    def test_listeners(self) -> None:
        few = Kraken(listeners=("custom", "mousemove"))
        self.assertEqual(few, Kraken(listeners=("mousemove", "custom")))
        for number, name in TYPES.items():
            if name in few.listeners:
                self.assertEqual(self.read(changed(type=number), few), Batch(1))
            else:
                self.bad_event(changed(type=number), name, few)
        none = Kraken(listeners=())
        self.assertEqual(self.read([], none), Batch(0))
        error = self.assertRaises(BadEvent, self.read, [CLICK], none)
        self.assertEqual(error.position, 0)

    def test_too_many(self) -> None:
        two = Kraken(max_events=2)
        self.assertEqual(self.read([CLICK] * 2, two), Batch(2))
        error = self.assertRaises(BadRequest, self.read, [CLICK] * 3, two)
        self.assertIn("at most 2", str(error))

    def test_words(self) -> None:
        self.assertEqual(self.read({"type": "close"}), Batch(0, leave=Leave.CLOSE))
        self.bad_request({"type": "start"}, "started already")
        self.bad_request({"type": "ack"}, "not known")

    def test_not_read(self) -> None:
        for message in (
            b"",
            b"x",
            b"5",
            b'"x"',
            b"null",
            b"[",
            b"[1,]",
            b"{}x",
            b"[NaN]",
            b"[{}]]",
            b"\xff",
            b"\0",
        ):
            self.bad_request(message, "could not be read")
        self.bad_request(CLICK, "Binary", binary=True)

    def test_depth(self) -> None:
        def nested(levels: int) -> bytes:
            return raw(changed(more="MORE")).replace(b'"MORE"', b"[" * levels + b"]" * levels)

        self.assertEqual(self.read(nested(511)), Batch(1))
        self.assertEqual(self.read(b"[%b]" % nested(510)), Batch(1))
        for message in (nested(512), b"[%b]" % nested(511), nested(100_000), b"[" * 100_000):
            self.bad_request(message, "could not be read")

    def test_lone_surrogates(self) -> None:
        event = changed(event={"X": 1, "Y": 2, "target": "\ud83d"})
        self.assertEqual((self.read(event), self.read([event])), (Batch(1), Batch(1)))
        large = changed(event={"X": 1, "Y": 2, "target": "\ud83d" * 20_000})
        self.assertEqual((self.read(large), self.read([large])), (Batch(1), Batch(1)))
        self.bad_event({**event, "timestamp": "\ud83d"}, "'timestamp'")
        self.assertRaises(BadEvent, self.read, [{**large, "type": 8}])


class SameAnswerTests(KrakenTestCase):
    """The quick pass accepts nothing that the careful one refuses, and the other way round."""

    fields = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from([0, 1, 2, 3, 9, 8, 0.0, "close", "start", None, True]),
            "timestamp": st.sampled_from([T, 1.5, "1", "2026-11-22 00:00", None, True, [], 10**17, "\ud83d"]),
            "event": st.sampled_from(
                [{"X": 1, "Y": 2}, {"X": 1}, [], None, {"X": 1e300, "Y": -0.0, "Z": "\ud83d"}]
            ),
            "more": st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5),
        },
    )

    @unhurried
    @given(fields | st.lists(fields, max_size=4), st.sampled_from([LISTENERS, ("mousemove",), ()]))
    def test_messages(self, message: Any, listeners: tuple[str, ...]) -> None:
        using = Kraken(listeners=listeners)
        text = raw(message)
        quick = using._accept(text)
        try:
            careful = using._read_carefully(text, text.lstrip()[:1]).events
        except BadRequest:
            careful = None
        if quick is not None:
            self.assertEqual(quick, careful)
        elif careful and listeners and b"\\ud83d" not in text:
            self.fail(f"only the careful pass takes {text!r}")

    @unhurried
    @given(st.binary() | st.text('{}[]":, \\ud83e1nultypestamp0').map(str.encode), st.booleans())
    def test_any_bytes(self, message: bytes, binary: bool) -> None:
        try:
            batch = dialect.read(message, binary)
        except BadRequest:
            return
        self.assertEqual(batch, Batch(0))
        self.assertEqual(json.loads(message), [])

    def test_the_type_is_told_also_where_there_is_only_one(self) -> None:
        for name in LISTENERS:
            using = Kraken(listeners=(name,))
            for text in (
                b'{"timestamp":1,"event":{"X":1,"Y":2}}',
                b'[{"timestamp":1,"event":{"X":1,"Y":2}}]',
            ):
                self.assertRaises(BadRequest, using.read, text, False)

    def test_equal_keys(self) -> None:
        """The last counts, in both."""
        for text in (
            b'{"type":2,"type":8,"timestamp":1}',
            b'{"type":2,"timestamp":1,"timestamp":null}',
            b'{"type":0,"timestamp":1,"event":{"X":1,"Y":1},"event":1}',
            b'{"type":0,"timestamp":1,"event":{"X":1,"Y":1,"X":null}}',
        ):
            self.assertRaises(BadEvent, dialect.read, text, False)
            self.assertRaises(BadEvent, dialect.read, b"[%b]" % text, False)
        self.assertEqual(dialect.read(b'{"type":8,"type":2,"timestamp":null,"timestamp":1}', False), Batch(1))


class StoredTests(KrakenTestCase):
    def test_events_as_they_were_sent(self) -> None:
        one = b'{"type":0, "timestamp":1795306226.888,"event":{"X":1.0,"Y":2}}'
        two = b'{"type" : 9,"timestamp":"2026-11-22T00:10:26.888Z"}'
        self.assertEqual(dialect.events(one), [Event(one, T)])
        self.assertEqual(dialect.events(b" [%b , %b]" % (one, two)), [Event(one, T), Event(two, T)])
        self.assertEqual(dialect.events(b"[]"), [])
        self.assertEqual(dialect.events(b'{"type":"close"}'), [])

    def test_the_word_of_leaving_has_no_events(self) -> None:
        message = b'{"type":"close","timestamp":1}'
        self.assertEqual((dialect.read(message, False).events, dialect.events(message)), (0, []))

    def test_lone_surrogates(self) -> None:
        one = b'{"type":9,"timestamp":1,"x":"\\ud83d"}'
        self.assertEqual(dialect.events(one), [Event(one, 1000)])
        self.assertEqual(dialect.events(b"[%b,%b]" % (one, one)), [Event(one, 1000)] * 2)

    @unhurried
    @given(SameAnswerTests.fields | st.lists(SameAnswerTests.fields, max_size=4))
    def test_as_many_as_were_read(self, message: Any) -> None:
        text = raw(message)
        try:
            batch = dialect.read(text, False)
        except BadRequest:
            return
        events = dialect.events(text)
        self.assertEqual(len(events), batch.events)
        sent = message if isinstance(message, list) else [message][: batch.events]
        self.assertEqual([json.loads(event.raw) for event in events], sent)


class AnswerTests(KrakenTestCase):
    def said(self, reply: Reply) -> tuple[Any, int | None]:
        message = None if reply.message is None else msgspec.json.decode(reply.message)
        return message, reply.close.code if reply.close else None

    def error(self, code: int, text: str, **more: Any) -> dict[str, Any]:
        return {"type": "error", "code": code, "message": text, **more}

    def test_the_interface(self) -> None:
        verifyObject(IDialect, dialect)
        self.assertEqual((dialect.name, dialect.client_version, dialect.cumulative), ("kraken", None, True))

    def test_the_start_is_not_answered(self) -> None:
        self.assertIsNone(dialect.welcome(Welcome("session", 1, 0, False, 1)))

    def test_acknowledgements_count_all_events(self) -> None:
        self.assertEqual(dialect.stored(Receipt(first_seq=1, events=1)), b'{"type":"ack","stored":1}')
        self.assertEqual(dialect.stored(Receipt(first_seq=8, events=3)), b'{"type":"ack","stored":10}')
        self.assertEqual(dialect.stored(Receipt(first_seq=11, events=0)), b'{"type":"ack","stored":10}')

    def test_hits(self) -> None:
        for hits in range(1, kraken.HITS):
            self.assertEqual(
                self.said(dialect.bad(BadRequest("Why."), hits)), (self.error(401, "Why."), None)
            )
            alone, among = BadEvent(None, b"{}", "Why."), BadEvent(0, b"{}", "Why.")
            self.assertEqual(self.said(dialect.bad(alone, hits)), (self.error(403, "Why."), None))
            self.assertEqual(self.said(dialect.bad(among, hits)), (self.error(403, "Why.", position=0), None))
        message, code = self.said(dialect.bad(BadRequest("Why."), kraken.HITS))
        self.assertEqual((message["code"], code), (402, 1008))

    def test_refused(self) -> None:
        for cause, code in ((Refusal.TIMEOUT, 401), (Refusal.INACTIVE, 403), (Refusal.FIELD, 401)):
            said = self.said(dialect.refuse(HandshakeRefused(cause, "Why.")))
            self.assertEqual(said, (self.error(code, "Why."), 1008))
        said = self.said(dialect.refuse(HandshakeRefused(Refusal.SHUTDOWN, "Why.")))
        self.assertEqual(said, ({"type": "shutdown"}, 1001))

    def test_trouble(self) -> None:
        self.assertEqual(self.said(dialect.unstored(None, "Why.")), (self.error(500, "Why."), None))
        self.assertEqual(self.said(dialect.failed("Why.")), (self.error(500, "Why."), 1011))

    def test_the_end(self) -> None:
        self.assertEqual(dialect.farewell(Leave.CLOSE), Reply(close=Close(1000)))
        self.assertEqual(dialect.shutdown(), Reply(b'{"type":"shutdown"}'))
        self.assertEqual(dialect.gone().code, 1001)
        self.assertIsNone(dialect.changed())
