"""LogUI 0.5's messages as they are read and written."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from logui_tx.dialects import logui05
from logui_tx.dialects.logui05 import CODES, LogUI05
from logui_tx.errors import BadEvent, BadRequest, HandshakeRefused, Refusal, TooManyEvents
from logui_tx.interfaces import IDialect
from logui_tx.model import Batch, Close, Event, Hello, Leave, Receipt, Reply, Welcome
from tests.logui05 import ITEM, MARKER, MISSING, T, events, handshake, item, message

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

dialect = LogUI05()


def raw(told: Any) -> bytes:
    return told if isinstance(told, bytes) else json.dumps(told).encode()


class HandshakeTests(SynchronousTestCase):
    def refused(self, told: Any, cause: Refusal, says: str = "", binary: bool = False) -> None:
        error = self.assertRaises(HandshakeRefused, dialect.read_hello, raw(told), binary)
        self.assertEqual(error.cause, cause, str(error))
        self.assertIn(says, str(error))
        self.assertTrue(str(error).isascii(), "a close frame may cut it anywhere")

    def hello(self, **changes: Any) -> Hello:
        return dialect.read_hello(raw(handshake("a-token", **changes)), False)

    def test_everything(self) -> None:
        expected = Hello(
            "a-token",
            T,
            {},
            "http://localhost",
            "the-session",
            user_agent="Agent",
            refusable=True,
            keeps=False,
        )
        self.assertEqual(self.hello(sessionID="the-session"), expected)

    def test_the_browser(self) -> None:
        self.assertEqual(self.hello(userAgent="").user_agent, None)
        self.assertEqual(self.hello(userAgent="x" * 9000).user_agent, "x" * 8192)

    def test_without_a_session(self) -> None:
        for session in (MISSING, None):
            self.assertEqual(self.hello(sessionID=session).session_id, None)
            self.assertEqual(self.hello(sessionID=session).bad_session, None)
        self.assertEqual(self.hello(sessionID="x" * 129).session_id, "", "nobody's")
        self.assertEqual(self.hello(sessionID="x" * 128).session_id, "x" * 128)
        for session in (5, "\ud83d", [], {}, True):
            hello = self.hello(sessionID=session)
            self.assertEqual((hello.session_id, hello.bad_session), (None, "'sessionID' must be a string."))

    def test_no_handshake(self) -> None:
        whole = handshake("a-token")
        for told in (
            events(),
            message("closedown"),
            message("other"),
            {**whole, "sender": "logUIServer"},
            {**whole, "payload": []},
            {**whole, "payload": None},
            {"sender": "logUIClient", "type": "handshake"},
            {**whole, "type": 5},
            [],
            b"",
            b"x",
            b"{}",
            b"NaN",
            b"[" * 600,
        ):
            self.refused(told, Refusal.MALFORMED)
        self.refused(whole, Refusal.MALFORMED, "Binary", binary=True)

    def test_fields(self) -> None:
        for key in ("clientVersion", "authorisationToken", "pageOrigin", "userAgent", "clientTimestamp"):
            self.refused(handshake("t", **{key: MISSING}), Refusal.FIELD, f"'{key}'")
            for value in (None, [], True, "\ud83d"):
                self.refused(handshake("t", **{key: value}), Refusal.FIELD, f"'{key}'")
        self.refused(handshake("t", clientTimestamp="yesterday"), Refusal.FIELD)

    def test_versions(self) -> None:
        for version in ("0.5.1", "0.5.2b", "0.5.3", "0.5.4a", "0.5.4"):
            self.hello(clientVersion=version)
        for version in ("0.5.0", "0.5", "0.4.0", "0.5.5", "0.6.1", "", "x0.5.4"):
            self.refused(handshake("t", clientVersion=version), Refusal.VERSION)
        self.refused(handshake("t", clientVersion="9", userAgent=MISSING), Refusal.FIELD)

    @unhurried
    @given(st.binary() | st.text('{}[]":, \\ud83e1nultypesr').map(str.encode), st.booleans())
    def test_any_bytes(self, told: bytes, binary: bool) -> None:
        self.assertRaises(HandshakeRefused, dialect.read_hello, told, binary)


class ItemTests(SynchronousTestCase):
    def read(self, told: Any) -> Any:
        return dialect.read(raw(told), False)

    def bad_item(self, wrong: Any, says: str) -> None:
        error = self.assertRaises(BadEvent, self.read, events(ITEM, wrong))
        self.assertIn("position 1", str(error))
        self.assertIn(says, str(error))
        self.assertEqual(json.loads(error.copy), wrong)

    def bad_request(self, told: Any, says: str = "", binary: bool = False) -> None:
        error = self.assertRaises(BadRequest, dialect.read, raw(told), binary)
        self.assertNotIsInstance(error, BadEvent)
        self.assertIn(says, str(error))

    def test_batches(self) -> None:
        self.assertEqual(self.read(events()), Batch(0))
        self.assertEqual(self.read(events(*[ITEM] * 3)), Batch(3, app_data=b'{"user": 1}'))
        none = [item(applicationSpecificData=None), item(applicationSpecificData=MISSING)]
        self.assertEqual(self.read(events(*none)), Batch(2))

    def test_odd_items_are_taken(self) -> None:
        for details in (None, MISSING, 5, "x", [1, "x"], {"$set": 1, "": {}, "type": {}}, "\ud800", "\0"):
            self.assertEqual(self.read(events(item(eventDetails=details))).events, 1)
        for changes in ({"sessionID": MISSING}, {"sessionID": 5}, {"metadata": None}, {"more": []}):
            self.assertEqual(self.read(events(item(**changes))).events, 1)
        for kind in ("interactionEvent", "browserEvent", "statusEvent", "customEvent"):
            self.assertEqual(self.read(events(item(eventType=kind))).events, 1)

    def test_bad_items(self) -> None:
        for wrong in (1, None, "x", [], {}):
            self.assertRaises(BadEvent, self.read, events(wrong))
        for kind in (MISSING, None, 5, "otherEvent", "\ud83d"):
            self.bad_item(item(eventType=kind), "'eventType'")
        for stamps in (MISSING, None, [], 5, {}, {"eventTimestamp": None}, {"eventTimestamp": "soon"}):
            self.bad_item(item(timestamps=stamps), "'eventTimestamp'")
        for data in ([], 5, "x", True):
            self.bad_item(item(applicationSpecificData=data), "'applicationSpecificData'")

    def test_bad_messages(self) -> None:
        whole = events(ITEM)
        for told in (
            {**whole, "sender": "x"},
            {**whole, "type": "x"},
            {**whole, "payload": []},
            {**whole, "payload": {"length": 0}},
            {**whole, "payload": {"items": {}}},
            handshake("t"),
            b"",
            b"x",
            b"\xff",
            b"[]",
        ):
            self.bad_request(told)
        self.bad_request(whole, "Binary", binary=True)
        self.bad_request(handshake("t"), "made already")
        deep = raw(events(item(eventDetails="DEEP"))).replace(b'"DEEP"', b"[" * 512 + b"]" * 512)
        self.bad_request(deep, "deep")

    def test_too_many(self) -> None:
        two = LogUI05(max_events=2)
        self.assertEqual(two.read(raw(events(ITEM, ITEM)), False).events, 2)
        self.assertRaises(TooManyEvents, two.read, raw(events(*[ITEM] * 3)), False)

    def test_closedown(self) -> None:
        for told in (message("closedown"), message("closedown", MISSING), message("closedown", [])):
            self.assertEqual(self.read(told), Batch(0, leave=Leave.CLOSE))
            self.assertEqual(dialect.events(raw(told)), [])

    def test_data_with_lone_surrogates_is_read_exactly(self) -> None:
        half = item(applicationSpecificData={"a": "\ud83d"})
        self.assertEqual(self.read(events(half)).app_data, b'{"a": "\\ud83d"}')
        large = events(half, item(eventDetails="x" * logui05.MAX_EXACT))
        self.assertEqual(self.read(events(half, ITEM)).app_data, b'{"user": 1}')
        self.assertEqual(self.read({**large, "a": "\ud83d"}).events, 2)
        # To read it exactly would be slow, and others would wait.
        large = events(item(eventDetails="x" * logui05.MAX_EXACT), half)
        self.assertEqual(self.read(large).app_data, b'{"a": "\\ufffd"}')


class InForceTests(SynchronousTestCase):
    """Whose data each item was made under, as far as the items tell."""

    def told(self, *items: Any) -> tuple[Batch, list[Any]]:
        text = raw(events(*items))
        found = [event.app_data and json.loads(event.app_data) for event in dialect.events(text)]
        batch = dialect.read(text, False)
        assert isinstance(batch, Batch)
        return batch, found

    def bearing(self, n: int, **more: Any) -> Any:
        return item(applicationSpecificData={"n": n}, **more)

    def test_all_alike(self) -> None:
        batch, found = self.told(self.bearing(1), self.bearing(1))
        self.assertEqual((batch.app_data, batch.app_data_updated), (b'{"n": 1}', False))
        self.assertEqual(found, [None, None])

    def test_a_marker(self) -> None:
        marker = {"applicationSpecificData": {"n": 2}}
        batch, found = self.told(self.bearing(2), {**MARKER, **marker}, self.bearing(2))
        self.assertEqual((batch.app_data, batch.app_data_updated), (b'{"n": 2}', True))
        self.assertEqual(found, [None, {"n": 2}, {"n": 2}])

    def test_what_is_no_marker(self) -> None:
        for wrong in (
            {**MARKER, "eventType": "customEvent"},
            {**MARKER, "eventDetails": "applicationSpecificDataUpdated"},
            {**MARKER, "eventDetails": {"type": ["applicationSpecificDataUpdated"]}},
        ):
            self.assertFalse(self.told(ITEM, wrong)[0].app_data_updated)

    def test_a_marker_in_other_spelling(self) -> None:
        for text in (b'{"type":"applicationSpecificDataUpdate\\u0064"}', b'{"x":"\\ud83d","type":"%b"}'):
            details = text % b"applicationSpecificDataUpdated" if b"%" in text else text
            told = raw(events({**MARKER, "eventDetails": "DETAILS"})).replace(b'"DETAILS"', details)
            self.assertTrue(dialect.read(told, False).app_data_updated)

    def test_items_of_one_message_that_differ(self) -> None:
        batch, found = self.told(self.bearing(1), item(applicationSpecificData=MISSING), self.bearing(2))
        self.assertEqual((batch.app_data, batch.app_data_updated), (b'{"n": 2}', False))
        self.assertEqual(found, [{"n": 1}, {"n": 1}, {"n": 2}])

    def test_items_that_bear_none(self) -> None:
        """What was told before them holds on; nothing was, in the first."""
        none = item(applicationSpecificData=None)
        self.assertEqual(self.told(none, self.bearing(1), none)[1], [None, {"n": 1}, {"n": 1}])
        marker = {**MARKER, "applicationSpecificData": {"n": 2}}
        found = self.told(none, self.bearing(2), none, marker, none)[1]
        self.assertEqual(found, [None, None, None, {"n": 2}, {"n": 2}])
        found = self.told(self.bearing(2), {**MARKER, "applicationSpecificData": None}, self.bearing(2))[1]
        self.assertEqual(found, [None, {"n": 2}, {"n": 2}])

    def test_several_markers(self) -> None:
        """Items bear what the last one brought: between two it is not told what was in force."""
        marker = {**MARKER, "applicationSpecificData": {"n": 3}}
        found = self.told(self.bearing(3), marker, self.bearing(3), marker, self.bearing(3))[1]
        self.assertEqual(found, [None, *[{"n": 3}] * 4])
        self.assertEqual(self.told(marker, self.bearing(3))[1], [{"n": 3}] * 2)
        self.assertEqual(self.told(self.bearing(3), marker)[1], [None, {"n": 3}])

    def test_items_that_the_update_did_not_overwrite(self) -> None:
        """What they bear is not what the marker brought: it was theirs."""
        marker = {**MARKER, "applicationSpecificData": {"n": 9}}
        found = self.told(self.bearing(7), self.bearing(9), marker, self.bearing(9))[1]
        self.assertEqual(found, [{"n": 7}, None, {"n": 9}, {"n": 9}])


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("a\ud83d", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "b"]), inner),
    max_leaves=4,
)
times = st.sampled_from([T, 1.5, "1", "2026-11-22 00:00", None, True, [], 10**17, "\ud83d"])
items = st.fixed_dictionaries(
    {},
    optional={
        "eventType": st.sampled_from(["statusEvent", "customEvent", "statusEvent", "x", None]),
        "timestamps": st.fixed_dictionaries({"eventTimestamp": times}) | anything,
        "eventDetails": st.just(MARKER["eventDetails"]) | anything,
        "applicationSpecificData": st.sampled_from([{"a": 1}, {"a": "\ud83d"}, {}, None]) | anything,
        "sessionID": anything,
    },
)
good_items = st.builds(
    lambda changes: {**ITEM, **changes}, st.dictionaries(st.just("eventDetails") | st.just("x"), anything)
)
messages = st.builds(
    lambda listed, changes: {**events(*listed), **changes},
    st.lists(good_items | good_items | items, max_size=4),
    st.dictionaries(st.sampled_from(["sender", "type", "payload", "x"]), anything, max_size=1),
)


def outcome(read: Any, told: bytes) -> Any:
    try:
        return read(told, False)
    except BadEvent as error:
        return str(error), error.position, error.copy
    except BadRequest as error:
        return str(error)


class SameAnswerTests(SynchronousTestCase):
    @settings(unhurried, max_examples=300)
    @given(messages, st.booleans())
    def test_the_quick_way_means_the_same(self, told: Any, as_text: bool) -> None:
        text = json.dumps(told, ensure_ascii=not as_text).encode(errors="replace")
        self.assertEqual(outcome(dialect.read, text), outcome(dialect._read_carefully, text))

    @unhurried
    @given(messages, st.data())
    def test_also_where_bytes_are_damaged(self, told: Any, data: st.DataObject) -> None:
        text = raw(told)
        at = data.draw(st.integers(0, len(text) - 1))
        new = data.draw(st.sampled_from(list(b'{}[]",:\\0e-.x \x00\x7f')) | st.none())
        damaged = text[:at] + (b"" if new is None else bytes([new])) + text[at + 1 :]
        self.assertEqual(outcome(dialect.read, damaged), outcome(dialect._read_carefully, damaged))

    @unhurried
    @given(st.binary() | st.text('{}[]":, \\ud83e1nultypesr').map(str.encode), st.booleans())
    def test_any_bytes(self, told: bytes, binary: bool) -> None:
        self.assertRaises(BadRequest, dialect.read, told, binary)

    @settings(unhurried, max_examples=200)
    @given(messages)
    def test_exactly_what_was_sent(self, told: Any) -> None:
        text = raw(told)
        batch = outcome(dialect.read, text)
        if not isinstance(batch, Batch):
            return
        found = dialect.events(text)
        sent = told["payload"]["items"] if told["type"] == "logEvents" else []
        self.assertEqual([event.raw for event in found], [raw(one) for one in sent])
        self.assertEqual(len(found), batch.events)
        self.assertEqual([event.client_time is None for event in found], [False] * len(found))

    def test_the_quick_way_is_taken(self) -> None:
        class OnlyQuick(LogUI05):
            def _read_carefully(self, message: bytes, binary: bool = False) -> Batch:
                raise AssertionError(message)

        self.assertEqual(OnlyQuick().read(raw(events(ITEM, MARKER)), False).events, 2)
        self.assertEqual(OnlyQuick().read(raw(events(item(eventDetails="\ud83d"))), False).events, 1)

    def test_the_surroundings_are_left_out(self) -> None:
        one = raw(item(eventDetails={"x": 1.0}))
        text = raw(events("ONE", "ONE")).replace(b'"ONE"', b" \n %b\t" % one)
        self.assertEqual(dialect.events(text), [Event(one, T)] * 2)


class AnswerTests(SynchronousTestCase):
    def test_the_interface(self) -> None:
        verifyObject(IDialect, dialect)
        self.assertEqual((dialect.name, dialect.client_version), ("logui-0.5", None))
        self.assertEqual(dialect.too_large, Close(None))

    def test_welcome(self) -> None:
        for resumed in (False, True):
            said = json.loads(dialect.welcome(Welcome("the-session", T + 5000, 0, resumed, T)))
            payload = {
                "sessionID": "the-session",
                "clientStartTimestamp": "2026-11-22T00:10:26.888Z",
                "newSessionCreated": not resumed,
            }
            self.assertEqual(said, {"sender": "logUIServer", "type": "handshakeSuccess", "payload": payload})

    def test_refusals_are_codes(self) -> None:
        for cause in Refusal:
            reply = dialect.refuse(HandshakeRefused(cause, "Why."))
            code = CODES.get(cause)
            self.assertEqual(reply, Reply(close=Close(code, "Why." if code else "")))
        self.assertEqual(sorted(CODES.values()), list(range(4001, 4008)))
        self.assertEqual(set(Refusal) - set(CODES), {Refusal.TIMEOUT, Refusal.SHUTDOWN})

    def test_what_is_not_the_clients_fault_lets_it_come_back(self) -> None:
        back = Reply(close=Close(None))
        self.assertEqual(dialect.unstored(None, "Full."), back)
        self.assertEqual(dialect.failed("Why."), back)
        self.assertEqual(dialect.shutdown(), back)
        self.assertEqual(dialect.gone(), Close(None))
        self.assertEqual(dialect.bad(TooManyEvents("5001"), 1), back)

    def test_bad_messages(self) -> None:
        for why in (BadRequest("Why."), BadEvent(0, b"1", "Why.")):
            self.assertEqual(dialect.bad(why, 1), Reply(close=Close(4001, "Why.")))

    def test_silence(self) -> None:
        self.assertIsNone(dialect.stored(Receipt(None, 1, 10)))
        self.assertIsNone(dialect.changed())
        self.assertEqual(dialect.farewell(Leave.CLOSE), Reply(close=Close(1000)))
