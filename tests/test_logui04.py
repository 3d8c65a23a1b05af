"""LogUI 0.4: every message as it is read and written. Reading a payload: test_logui04_payload.py."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from logui_tx.dialects.logui04 import MAX_INSTANCE, MAX_PAYLOAD_ID, LogUI04
from logui_tx.errors import BadEvent, BadRequest, HandshakeRefused, Refusal
from logui_tx.interfaces import IDialect
from logui_tx.model import AppDataChange, Batch, Close, Hello, Leave, Receipt, Reply, Welcome

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

T = 1_795_306_226_888
HANDSHAKE = {
    "payloadType": "LogUIHandshake",
    "clientDateTime": T,
    "appIdentifier": "secret-token",
    "appSpecificLogData": {},
}
PAYLOAD = {"payloadType": "LogUIEventPayload", "eventsToBeLogged": []}
CHANGE = {"payloadType": "LogUIAppSpecificLogDataChange", "appSpecificLogData": {}}
MISSING = object()
dialect = LogUI04()


def changed(message: dict[str, Any], **changes: Any) -> bytes:
    """The message with other values; MISSING leaves a key out."""
    return json.dumps({k: v for k, v in {**message, **changes}.items() if v is not MISSING}).encode()


class HelloTests(SynchronousTestCase):
    def refused(self, message: bytes, cause: Refusal, says: str = "", binary: bool = False) -> None:
        error = self.assertRaises(HandshakeRefused, dialect.read_hello, message, binary)
        self.assertIs(error.cause, cause, message[:200])
        self.assertIn(says, str(error))
        self.assertNotIn("secret", str(error))
        self.assertTrue(str(error).endswith("."), str(error))

    def test_the_required_keys(self) -> None:
        self.assertEqual(
            dialect.read_hello(changed(HANDSHAKE), False),
            Hello(token="secret-token", client_time=T, app_data={}),
        )

    def test_everything(self) -> None:
        message = changed(
            HANDSHAKE,
            clientDateTime="2026-11-22T00:10:26.888Z",
            appSpecificLogData={"a": [1, 2], "b": None},
            domain="example.org",
            sessionIdentifier="session",
            clientInstance="instance",
            referrer="https://example.org/\u00fc",
            more={"unknown": "keys are ignored"},
        )
        self.assertEqual(
            dialect.read_hello(message, False),
            Hello(
                token="secret-token",
                client_time=T,
                app_data={"a": b"[1, 2]", "b": b"null"},
                domain="example.org",
                session_id="session",
                instance="instance",
                referrer="https://example.org/\u00fc",
            ),
        )

    def test_optional_keys_may_be_null(self) -> None:
        message = changed(HANDSHAKE, domain=None, sessionIdentifier=None, clientInstance=None, referrer=None)
        self.assertEqual(dialect.read_hello(message, False), dialect.read_hello(changed(HANDSHAKE), False))

    def test_each_required_key(self) -> None:
        for key in HANDSHAKE:
            self.refused(changed(HANDSHAKE, **{key: MISSING}), Refusal.FIELD, f"lacks the key '{key}'")

    def test_ill_typed(self) -> None:
        for key, wrong in {
            "clientDateTime": [None, True, [], {}, "", "yesterday", 10**16, "2026-11-22"],
            "appIdentifier": [None, 1, ["secret"], {"secret": 1}, False],
            "appSpecificLogData": [None, [], "{}", 1, True],
            "domain": [1, [], {}, False, "x" * 8193],
            "sessionIdentifier": [1, [], {}, True, "x" * 8193],
            "clientInstance": [1, [], {}, False, "x" * (MAX_INSTANCE + 1)],
            "referrer": [1, [], {}, True],
        }.items():
            for value in wrong:
                self.refused(changed(HANDSHAKE, **{key: value}), Refusal.FIELD, f"'{key}'")

    def test_lengths(self) -> None:
        longest = "\U0001f600" * MAX_INSTANCE
        self.assertEqual(
            dialect.read_hello(changed(HANDSHAKE, clientInstance=longest), False).instance, longest
        )
        referrer = dialect.read_hello(changed(HANDSHAKE, referrer="r" * 10_000), False).referrer
        self.assertEqual(referrer, "r" * 8192)

    def test_not_a_handshake(self) -> None:
        self.refused(changed(PAYLOAD), Refusal.MALFORMED, "must be a LogUIHandshake")
        for kind in [None, 1, [], {}, "", "loguihandshake"]:
            self.refused(changed(HANDSHAKE, payloadType=kind), Refusal.MALFORMED)

    def test_not_a_json_object(self) -> None:
        for text in [b"", b"x", b"[]", b"null", b'"secret"', b"{", b"{}x", b'{"secret": NaN}']:
            self.refused(text, Refusal.MALFORMED, "not a valid JSON object")
        self.refused(changed(HANDSHAKE), Refusal.MALFORMED, "text message", binary=True)

    def test_depth(self) -> None:
        def nested(levels: int) -> bytes:
            return changed(HANDSHAKE, more="MORE").replace(b'"MORE"', b"[" * levels + b"]" * levels)

        self.assertEqual(dialect.read_hello(nested(511), False).client_time, T)
        for levels in [512, 100_000]:
            self.refused(nested(levels), Refusal.MALFORMED, "512")

    def test_lone_surrogates(self) -> None:
        hello = dialect.read_hello(changed(HANDSHAKE, appSpecificLogData={"a": "\ud83d"}), False)
        self.assertEqual(hello.app_data, {"a": b'"\\ud83d"'})
        self.refused(changed(HANDSHAKE, appSpecificLogData={"\ud83d": 1}), Refusal.FIELD, "keys")
        for key in ["appIdentifier", "domain", "sessionIdentifier", "clientInstance", "referrer"]:
            self.refused(changed(HANDSHAKE, **{key: "secret\ud83d"}), Refusal.FIELD, f"'{key}'")

    @unhurried
    @given(st.binary() | st.text('{}[]":, \\ud83e1nul').map(str.encode), st.booleans())
    def test_any_bytes(self, message: bytes, binary: bool) -> None:
        self.assertRaises(HandshakeRefused, dialect.read_hello, message, binary)


class ChangeTests(SynchronousTestCase):
    def test_change(self) -> None:
        message = changed(CHANGE, appSpecificLogData=0).replace(b"0", b'{"a": {"b" : 1.0},"c":null}')
        self.assertEqual(dialect.read(message, False), AppDataChange({"a": b'{"b" : 1.0}', "c": b"null"}))
        self.assertEqual(dialect.read(changed(CHANGE), False), AppDataChange({}))

    def test_refused(self) -> None:
        for value in [MISSING, None, [], "", 1, {"\ud83d": 1}]:
            error = self.assertRaises(
                BadRequest, dialect.read, changed(CHANGE, appSpecificLogData=value), False
            )
            self.assertIn("appSpecificLogData", str(error))
            self.assertNotIsInstance(error, BadEvent)


class PayloadTests(SynchronousTestCase):
    def bad(self, message: bytes, says: str = "", binary: bool = False) -> None:
        error = self.assertRaises(BadRequest, dialect.read, message, binary)
        self.assertNotIsInstance(error, BadEvent)
        self.assertIn(says, str(error))

    def test_batch(self) -> None:
        for more, expected in [
            ({}, Batch(0)),
            ({"eventsToBeLogged": [{"clientDateTime": T}, {"clientDateTime": "1"}]}, Batch(2)),
            ({"payloadID": 1}, Batch(0, payload_id=1)),
            ({"payloadID": MAX_PAYLOAD_ID}, Batch(0, payload_id=MAX_PAYLOAD_ID)),
            ({"clientInstance": ""}, Batch(0, instance="")),
            ({"clientInstance": "i"}, Batch(0, instance="i")),
            ({"session": "leavingPage"}, Batch(0, leave=Leave.PAGE)),
            ({"session": "shutdownClient"}, Batch(0, leave=Leave.CLIENT)),
            ({"unknown": [1]}, Batch(0)),
        ]:
            self.assertEqual(dialect.read(changed(PAYLOAD, **more), False), expected, more)

    def test_bad_requests(self) -> None:
        for value in [MISSING, None, {}, "[]", 1, True]:
            self.bad(changed(PAYLOAD, eventsToBeLogged=value), "eventsToBeLogged")
        for value in [None, 0, -1, 1.5, "1", True, [], MAX_PAYLOAD_ID + 1, 10**30]:
            self.bad(changed(PAYLOAD, payloadID=value), "payloadID")
        for value in [None, "", "leaving", "LEAVINGPAGE", 1, True, ["leavingPage"], "\ud83d"]:
            self.bad(changed(PAYLOAD, session=value), "session")
        for value in [None, 1, [], {}, "x" * (MAX_INSTANCE + 1), "\ud83d"]:
            self.bad(changed(PAYLOAD, clientInstance=value), "clientInstance")
        for value in [MISSING, None, 1, "", "LogUIEventpayload"]:
            self.bad(changed(PAYLOAD, payloadType=value), "payloadType")
        self.bad(changed(HANDSHAKE), "made already")
        self.bad(changed(PAYLOAD), "binary", binary=True)
        for text in [b"", b"[]", b"null", b"{", b"{}}", b"\xff", b'{"payloadType":NaN}']:
            self.bad(text, "not a valid JSON object")

    def test_too_many_events(self) -> None:
        events = [{"clientDateTime": T}] * 3
        self.assertEqual(
            LogUI04(max_events=3).read(changed(PAYLOAD, eventsToBeLogged=events), False), Batch(3)
        )
        error = self.assertRaises(
            BadRequest, LogUI04(max_events=2).read, changed(PAYLOAD, eventsToBeLogged=events), False
        )
        self.assertIn("3 events; at most 2", str(error))
        self.assertNotIsInstance(error, BadEvent)

    def test_the_first_bad_event(self) -> None:
        good = b'{"clientDateTime":1}'
        for bad in [
            b"1",
            b"null",
            b"[]",
            b'"x"',
            b"{}",
            b'{"clientdatetime":1}',
            b'{"clientDateTime":null}',
            b'{"clientDateTime":true}',
            b'{"clientDateTime":[]}',
            b'{"clientDateTime":"soon"}',
            b'{"clientDateTime":8640000000000001}',
            b'{"clientDateTime":1e400}',
            b'{ "clientDateTime" : "\\ud83d" , "x": 1 }',
            b'{"clientDateTime":1,"clientDateTime":{}}',
        ]:
            for position in range(3):
                events = b" , ".join([good] * position + [bad] + [b"7"])
                message = b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[%s]}' % events
                error = self.assertRaises(BadEvent, dialect.read, message, False)
                self.assertEqual((error.position, error.copy), (position, bad))
                self.assertEqual(str(error), f"The event payload was badly formed at position [{position}].")

    def test_depth(self) -> None:
        def nested(levels: int) -> bytes:
            event = b'{"clientDateTime":1,"a":' + b"[" * levels + b"]" * levels + b"}"
            return b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[%s]}' % event

        self.assertEqual(dialect.read(nested(509), False), Batch(1))
        for levels in [510, 100_000]:
            self.bad(nested(levels), "512")


class AnswerTests(SynchronousTestCase):
    """The shapes that docs/protocol.md promises, key by key and in that order."""

    def message(
        self, answer: bytes | Reply | None, expected: dict[str, Any], close: Close | None = None
    ) -> None:
        if isinstance(answer, Reply):
            self.assertEqual(answer.close, close)
            answer = answer.message
        assert answer is not None
        self.assertEqual(json.loads(answer), expected)
        self.assertEqual(list(json.loads(answer)), list(expected))

    def test_the_promise(self) -> None:
        verifyObject(IDialect, dialect)
        self.assertEqual((dialect.name, dialect.client_version), ("logui-0.4", "0.4.0"))

    def test_welcome(self) -> None:
        for resumed in (False, True):
            self.message(
                dialect.welcome(Welcome("the-session", T, 7, resumed, 1)),
                {
                    "responseType": "LogUIHandshakeSuccess",
                    "statusCode": "200",
                    "sessionIdentifier": "the-session",
                    "serverDateTime": "2026-11-22T00:10:26.888Z",
                    "lastPayloadID": 7,
                },
            )

    def test_refuse(self) -> None:
        for cause in Refusal:
            self.message(
                dialect.refuse(HandshakeRefused(cause, 'The "cause".')),
                {
                    "responseType": "LogUIHandshakeError",
                    "statusCode": "400",
                    "errorDetails": {"errorString": 'The "cause".', "terminate": True},
                },
                Close(1008, "handshake refused"),
            )

    def test_stored(self) -> None:
        success = {"responseType": "LogUIEventPayloadSuccess", "statusCode": "201"}
        self.message(dialect.stored(Receipt()), success)
        self.message(
            dialect.stored(Receipt(payload_id=MAX_PAYLOAD_ID)), {**success, "payloadID": MAX_PAYLOAD_ID}
        )

    def test_changed_and_shutdown(self) -> None:
        self.message(
            dialect.changed(), {"responseType": "LogUIAppSpecificLogDataChangeSuccess", "statusCode": "201"}
        )
        self.message(dialect.shutdown().message, {"responseType": "LogUIServerShutdown", "statusCode": "501"})

    def test_bad(self) -> None:
        for hits in (1, 4):
            self.message(
                dialect.bad(BadRequest("What."), hits),
                {
                    "responseType": "LogUIBadRequest",
                    "statusCode": "401",
                    "errorDetails": {"errorString": "What.", "terminate": False},
                },
            )
            self.message(
                dialect.bad(BadEvent(3, b'{"x" :"\\ud83d"}', "Where."), hits),
                {
                    "responseType": "LogUIBadEventPayloadRequest",
                    "statusCode": "403",
                    "errorDetails": {
                        "errorString": "Where.",
                        "badEventData": {"x": "\ud83d"},
                        "terminate": False,
                    },
                },
            )

    def test_the_fifth_hit(self) -> None:
        for why in (BadRequest("What."), BadEvent(0, b"1", "Where.")):
            for hits in (5, 6):
                self.message(
                    dialect.bad(why, hits),
                    {
                        "responseType": "LogUIBadRequestCountExceeded",
                        "statusCode": "402",
                        "errorDetails": {
                            "errorString": "The number of bad requests has been exceeded.",
                            "terminate": True,
                        },
                    },
                    Close(1008, "too many bad requests"),
                )

    def test_unstored_and_failed(self) -> None:
        error: dict[str, Any] = {"responseType": "LogUIServerError", "statusCode": "500"}
        details = {"errorString": "Disk full.", "terminate": False}
        self.message(dialect.unstored(None, "Disk full."), {**error, "errorDetails": details})
        self.message(dialect.unstored(9, "Disk full."), {**error, "payloadID": 9, "errorDetails": details})
        self.message(
            dialect.failed("Bug."),
            {**error, "errorDetails": {"errorString": "Bug.", "terminate": True}},
            Close(1011, "server error"),
        )

    def test_the_end(self) -> None:
        for leave in Leave:
            self.assertEqual(dialect.farewell(leave), Reply(close=Close(1000)))
        self.assertEqual(dialect.gone(), Close(1001, "server shutdown"))
