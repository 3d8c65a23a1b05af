"""Own framing is held to Autobahn's: the same streams, cut in the same places, say the same to both."""

import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.web.frames import AT_ONCE, MAX_QUICK, QuickWebSocket, text_frame

MOST = 70_000
MASK = b"\x01\x80\xf0\x0f"
SHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
EXTENSION = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Stock(WebSocketServerProtocol):  # type: ignore[misc]
    """Autobahn as it is."""

    def onOpen(self) -> None:
        self.heard: list[tuple[bytes, bool]] = []

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard.append((payload, isBinary))


class Quick(QuickWebSocket, Stock):
    """With the quick way."""

    def receive_text(self, payload: bytes) -> None:
        self.heard.append((bytes(payload), False))

    def put_off(self) -> None:
        self.consumeData()


class FakeSocket:
    """Takes so many bytes; None: has no room at all."""

    def __init__(self, taken: int | None) -> None:
        self.taken, self.sent = taken, list[bytes]()

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        if self.taken is None:
            raise BlockingIOError
        return self.taken


def connected(protocol: type[Stock], deflate: bool) -> Any:
    """A server's end that shook hands with a client."""
    factory = WebSocketServerFactory(reactor=Clock())
    factory.protocol = protocol
    factory.setProtocolOptions(
        maxMessagePayloadSize=MOST,
        failByDrop=False,
        # These timers would be the reactor's own.
        openHandshakeTimeout=0,
        closeHandshakeTimeout=0,
        perMessageCompressionAccept=lambda offers: next(
            (PerMessageDeflateOfferAccept(o) for o in offers if isinstance(o, PerMessageDeflateOffer)), None
        ),
    )
    server = factory.buildProtocol(None)
    transport = StringTransport()
    transport.unregisterProducer = lambda: None
    server.makeConnection(transport)
    server.dataReceived(SHAKE + (EXTENSION if deflate else b"") + b"\r\n")
    assert transport.value().startswith(b"HTTP/1.1 101")
    transport.clear()
    return server


def frame(first: int, payload: bytes, *, masked: bool = True, length: int | None = None) -> bytes:
    """A client's frame; ``length``: the width in bytes of its length, where it is not to be the shortest."""
    size = len(payload)
    width = length if length is not None else (0 if size < 126 else 2 if size < 65_536 else 8)
    mark = 0x80 if masked else 0
    head = bytes((first, mark | {0: size, 2: 126, 8: 127}[width])) + (size.to_bytes(width) if width else b"")
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


def deflated(payload: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def outcome(server: Any) -> tuple[Any, ...]:
    """What was heard, what was answered (a frame's first byte, a pong's payload, a close's code), is it open.

    How it ends is not compared: Autobahn may fail a bad text twice, and then does not wait for the goodbye.
    """
    said, at, data = [], 0, server.transport.value()
    while at < len(data):
        size = data[at + 1]
        body = data[at + 2 : at + 2 + size]
        said.append((data[at], body[:2] if data[at] == 0x88 else body))
        at += 2 + size
    return server.heard, said, server.state == server.STATE_OPEN


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


def play(protocol: type[Stock], deflate: bool, pieces: list[bytes]) -> tuple[Any, ...]:
    server = connected(protocol, deflate)
    for piece in pieces:
        server.dataReceived(piece)
    return outcome(server)


LONG = st.builds(bytes.__mul__, st.just(b"x"), st.sampled_from([125, 126, 65_535, 65_536, MOST, MOST + 1]))
BODIES = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.binary(max_size=40),
    LONG,
    st.sampled_from([b"", "\u00e9".encode() * 100, b"ok\xff", "\u20ac".encode()[:2]]),
)
FRAMES: st.SearchStrategy[bytes] = st.one_of(
    BODIES.map(lambda body: frame(0x81, body)),
    BODIES.map(lambda body: frame(0xC1, deflated(body))),
    st.builds(frame, st.sampled_from([0x81, 0xC1, 0x82, 0x01, 0x41, 0x02, 0x80, 0x00, 0xA1]), BODIES),
    st.builds(frame, st.sampled_from([0x89, 0x8A]), st.binary(max_size=20)),
    st.sampled_from(
        [
            frame(0x88, b"\x03\xe8"),
            frame(0x81, b"unmasked", masked=False),
            frame(0x81, b"long way", length=2),
            frame(0x81, b"longer way", length=8),
            frame(0x81, b"x" * 200, length=8),
            frame(0xC1, b"not deflated"),
            frame(0xC1, deflated(bytes(10 * MOST))),
            b"\x81\xff" + b"\xff" * 8 + MASK,
        ]
    ),
)


class SameAsAutobahnTests(SynchronousTestCase):
    """Whatever comes, in whatever pieces."""

    def check(self, deflate: bool, pieces: list[bytes]) -> None:
        self.assertEqual(play(Quick, deflate, pieces), play(Stock, deflate, pieces))

    @settings(max_examples=400)
    @given(st.booleans(), st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 1 << 20), max_size=6))
    def test_any_stream(self, deflate: bool, frames: list[bytes], places: list[int]) -> None:
        self.check(deflate, cut(b"".join(frames), places))

    def test_cut_at_every_place(self) -> None:
        stream = b"".join(
            [
                frame(0x81, b"one"),
                frame(0xC1, deflated(b"two" * 50)),
                frame(0x89, b"ping"),
                frame(0x01, b"frag"),
                frame(0x80, b"ment"),
                frame(0x81, "\u20ac".encode() * 60),
                frame(0xC1, deflated(b"two" * 50)),
                frame(0x81, b""),
                frame(0x88, b"\x03\xe8"),
            ]
        )
        for place in range(len(stream) + 1):
            self.check(True, cut(stream, [place]))
        self.check(True, [stream[at : at + 1] for at in range(len(stream))])

    def test_context_is_kept_over_messages(self) -> None:
        packer = zlib.compressobj(wbits=-15)
        bodies = [b"the same text again and again" + bytes([65 + n]) for n in range(5)]
        packed = [(packer.compress(body) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4] for body in bodies]
        server = connected(Quick, True)
        for n, each in enumerate(packed):
            # Some come in two parts, which is Autobahn's way: both must leave the window to the other.
            parts = [frame(0x41, each[:4]), frame(0x80, each[4:])] if n % 2 else [frame(0xC1, each)]
            server.dataReceived(b"".join(parts))
        self.assertEqual(server.heard, [(body, False) for body in bodies])

    def test_invalid_text_is_refused(self) -> None:
        server = connected(Quick, False)
        server.dataReceived(frame(0x81, b"ok") + frame(0x81, b"\xed\xa0\x80") + frame(0x81, b"late"))
        self.assertEqual(outcome(server)[:2], ([(b"ok", False)], [(0x88, (1007).to_bytes(2))]))


class QuickWayTests(SynchronousTestCase):
    """That the usual case does go the quick way, and what holds it."""

    def test_autobahn_is_not_asked(self) -> None:
        server = connected(Quick, True)
        refused: Callable[[], bool] = lambda: self.fail("Autobahn was asked")  # noqa: E731
        server.processData = refused
        for body in (b"", b"short", b"m" * 1_000, b"l" * 66_000):
            for whole in (frame(0x81, body), frame(0xC1, deflated(body))):
                for piece in cut(whole, range(20, len(whole), 16_384)):
                    server.dataReceived(piece)
        self.assertEqual(len(server.heard), 8)
        self.assertEqual(server.data, b"")

    def test_held_back(self) -> None:
        server = connected(Quick, False)
        server.receive_text = lambda payload: (server.heard.append(payload), setattr(server, "_held", {"it"}))
        server.dataReceived(frame(0x81, b"1") + frame(0x81, b"2"))
        server.dataReceived(frame(0x81, b"3")[:4])
        self.assertEqual(server.heard, [b"1"])
        server._held = ()
        server.consumeData()
        self.assertEqual(server.heard, [b"1", b"2"])
        server._held = ()
        server.dataReceived(frame(0x81, b"3")[4:])
        self.assertEqual(server.heard, [b"1", b"2", b"3"])

    def test_others_have_their_turn(self) -> None:
        server = connected(Quick, False)
        put_off: list[int] = []
        server.put_off = lambda: put_off.append(len(server.heard))
        server.dataReceived(b"".join(frame(0x81, b"%d" % n) for n in range(2 * AT_ONCE + 1)))
        self.assertEqual(put_off, [AT_ONCE])
        server.dataReceived(frame(0x81, b"last"))
        server.consumeData()
        self.assertEqual(put_off, [AT_ONCE, 2 * AT_ONCE])
        self.assertEqual([body for body, _ in server.heard], [*(b"%d" % n for n in range(201)), b"last"])

    def test_any_head_is_understood_or_left(self) -> None:
        self.assertEqual(text_frame(frame(0x81, b"x" * 300), 300), (8, 300))
        self.assertIsNone(text_frame(frame(0x81, b"x" * 300), 299))
        for head in (b"", b"\x81", b"\x81\xfe\x01", b"\x81\x7f" + bytes(20), b"\x81\xff" + b"\xff" * 12):
            self.assertIsNone(text_frame(head, 1 << 20))

    def test_what_is_sent_at_once(self) -> None:
        """On the socket, as much as it takes; the rest behind what waits already."""
        server = connected(Quick, False)
        server._plain, transport = True, server.transport
        transport.dataBuffer, transport._tempDataBuffer, transport.connected = b"", [], True
        text = frame(0x81, b"abc", masked=False)
        for taken in (5, 3, 0, None):
            transport.socket = FakeSocket(taken)
            server.send_text(b"abc")
            self.assertEqual(transport.socket.sent, [text])
            self.assertEqual(transport.value(), text[taken or 0 :])
            transport.clear()
        for name, value in (("dataBuffer", b"x"), ("_tempDataBuffer", [b"x"]), ("connected", False)):
            before = getattr(transport, name)
            setattr(transport, name, value)
            transport.socket = FakeSocket(5)
            server.send_text(b"abc")
            self.assertEqual((transport.socket.sent, transport.value()), ([], text))
            setattr(transport, name, before)
            transport.clear()

    def test_what_is_sent(self) -> None:
        server = connected(Quick, False)
        for body in (b"", b"a" * MAX_QUICK):
            server.send_text(body)
            self.assertEqual(server.transport.value(), bytes((0x81, len(body))) + body)
            server.transport.clear()
