"""The usual case of WebSocket, read and written without the library's long way.

Nearly all that clients send are whole text messages, each one masked frame, and nearly all answers are
short. Autobahn leads every frame through a dozen callbacks and checks UTF-8 byte by byte; here such a frame
is cut out, unmasked and decoded by three calls into C. Whatever is not of that kind stays where it is, and is
Autobahn's. A test cuts streams at every place and holds this way to Autobahn's answers.

With :mod:`logui_tx.web.websocket` and :mod:`logui_tx.web.client` the only module that knows Autobahn.
"""

from __future__ import annotations

from typing import Any

from autobahn.exception import PayloadCorruptError, PayloadExceededError
from autobahn.twisted.websocket import WebSocketServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # there is no compiled one for this platform
    from websockets.utils import apply_mask

_TEXT, _DEFLATED_TEXT = (
    0x81,
    0xC1,
)  # FIN, the opcode, and with the first extension bit (RFC 6455, 5.2; RFC 7692, 6)
_MASKED, _SHORT, _MEDIUM = 0x80, 126, 127
MAX_QUICK = _SHORT - 1
"""Bytes that a message may have to be sent by :meth:`QuickWebSocket.send_text`."""

_COPIED = 16_384
"""Below so many bytes a copy costs less than a view."""

AT_ONCE = 100
"""Frames of one connection in a turn: one read may bring ten thousand empty ones, and others wait."""
_TURN = range(AT_ONCE)

_SHORT_HEADS = [bytes((_TEXT, size)) for size in range(_SHORT)]


def text_frame(data: bytes, most: int) -> tuple[int, int] | None:
    """Where the payload of the masked frame that ``data`` begins with starts, and its length in bytes.

    None where that is not told yet, where the length is not in its shortest form or more than ``most``.
    """
    if len(data) < 2:
        return None
    length, at, least = data[1] - _MASKED, 6, 0
    if length == _SHORT:
        at, least = 8, _SHORT
    elif length == _MEDIUM:
        at, least = 14, 1 << 16
    if len(data) < at:
        return None
    if at == 8:
        length = data[2] << 8 | data[3]
    elif at == 14:
        length = int.from_bytes(data[2:10])
    return (at, length) if least <= length <= most else None


class QuickWebSocket(WebSocketServerProtocol):  # type: ignore[misc]
    """A connection that takes whole text messages and sends short ones by itself.

    A subclass may stop reading by a true ``_held``; it gives :meth:`receive_text` and :meth:`put_off` their
    meaning, and sets ``_plain`` where what its transport's socket sends is what it sends: a stream without
    TLS.
    """

    _held: Any = ()
    _plain = False
    _missing = 0
    _pieces: bytearray
    data: bytes

    def receive_text(self, payload: bytes) -> None:
        """A text message came; it is valid UTF-8."""
        raise NotImplementedError

    def put_off(self) -> None:
        """Others have their turn now: :meth:`consumeData` is to be called in the next."""
        raise NotImplementedError

    def dataReceived(self, data: bytes) -> None:
        if self._missing:
            # A large message comes in many reads: put together once, at its end.
            self._pieces += data
            self._missing -= len(data)
            if self._missing > 0 and self.state == self.STATE_OPEN:
                return
            data, self._missing = bytes(self._pieces), 0
            del self._pieces
        self.data = self.data + data if self.data else data
        self.consumeData()

    def consumeData(self) -> None:
        # One read may hold many messages, each a thousand times its size once it is inflated: what is held
        # back stays as it came. Behind a goodbye there is nothing to hold back.
        if self.state not in (self.STATE_OPEN, self.STATE_CLOSING):
            super().consumeData()
            return
        for _ in _TURN:
            if self.state == self.STATE_CLOSED or (self._held and self.state == self.STATE_OPEN):
                return
            if self.data and self._take_text():
                if not self.data:
                    return
            elif not self.processData():
                return
        self.put_off()

    def _take_text(self) -> bool:
        """Take the message that the data begins with, if it is of the usual kind."""
        data = self.data
        first = data[0]
        if first != _TEXT and (first != _DEFLATED_TEXT or self._perMessageCompress is None):
            return False
        if self.current_frame is not None or self.inside_message or self.state != self.STATE_OPEN:
            return False
        found = text_frame(data, self.maxMessagePayloadSize)
        if found is None:
            return False
        at, length = found
        end = at + length
        if end > len(data):
            self._pieces, self._missing, self.data = bytearray(data), end - len(data), b""
            return True
        masked = data[at:end] if length < _COPIED else memoryview(data)[at:end]
        payload = apply_mask(masked, data[at - 4 : at])
        self.data = data[end:]
        self.trafficStats.incomingWebSocketFrames += 1
        if self.autoPingTimeoutCall and self.autoPingRestartOnAnyTraffic:
            self._cancelAutoPingTimeoutCall()
        inflated = payload if first == _TEXT else self._inflate(payload)
        if inflated is not None:
            try:
                inflated.decode()
            except UnicodeDecodeError as error:
                self._invalid_payload(f"the text message is not valid UTF-8 at byte {error.start}")
            else:
                self.receive_text(inflated)
        return True

    def _inflate(self, payload: bytes) -> bytes | None:
        """The message, no longer than the limit; None where the connection is ended for it."""
        most, deflate = self.maxMessagePayloadSize, self._perMessageCompress
        try:
            deflate.start_decompress_message()
            inflated: bytes = deflate.decompress_message_data(payload, max_output_len=most)
            deflate.end_decompress_message()
        except PayloadExceededError:
            self.wasMaxMessagePayloadSizeExceeded = True
            self._max_message_size_exceeded(most, most, f"the inflated message exceeds {most} bytes")
        except PayloadCorruptError as error:
            self._invalid_payload(f"the message cannot be inflated: {error}")
        else:
            return inflated
        return None

    def send_text(self, payload: bytes) -> None:
        """Send a short text message now, where nothing else waits to be sent; otherwise behind that."""
        frame = _SHORT_HEADS[len(payload)] + payload
        transport = self.transport
        if self._plain and transport.connected and not transport.dataBuffer and not transport._tempDataBuffer:
            # Left to the reactor it would cost a turn and two changes of what it polls.
            try:
                sent = transport.socket.send(frame)
            except OSError:
                sent = 0  # there is no room, or the connection turned out lost: the reactor will find out
            if sent == len(frame):
                return
            frame = frame[sent:]
        transport.write(frame)
