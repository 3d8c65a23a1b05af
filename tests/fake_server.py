"""A LogUI 0.4 server on a loopback port that does as a script says, for the tests of clients.

It keeps what it stored by session and instance as PROTOCOL section 1 has it, so repeats are not stored
again and ids after an unstored one get 500 too. A fault is a function of the conversation and the payload
that answers in the server's place; it strikes at the payloads whose ordinal (from 1, over all
connections) is in ``faults``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from autobahn.websocket.types import ConnectionDeny
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

Message = dict[str, Any]


class Conversation(WebSocketServerProtocol):
    """One connection; a subclass may answer otherwise."""

    tcpNoDelay = True
    session_id: str | None = None
    instance = ""
    unstored: int | None = None
    gone = False

    @property
    def fake(self) -> FakeServer:
        return self.factory.fake

    def onConnect(self, request: Any) -> None:
        self.fake.upgrades.append(request)
        if self.fake.refuse_upgrades:
            self.fake.refuse_upgrades -= 1
            raise ConnectionDeny(self.fake.refusal_status, "as the script says")

    def onOpen(self) -> None:
        self.fake.conversations.append(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        # One read may bring messages from behind the one that ended the conversation.
        if self.gone or self.state != self.STATE_OPEN:
            return
        message = json.loads(payload)
        if message["payloadType"] == "LogUIHandshake":
            self.shake_hands(message)
        else:
            self.fake.payloads.append(message)
            fault = self.fake.faults.get(len(self.fake.payloads), Conversation.take)
            fault(self, message)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.fake.closes.append(code)

    def shake_hands(self, message: Message) -> None:
        self.fake.handshakes.append(message)
        if self.fake.refuse_handshakes:
            self.answer(
                "LogUIHandshakeError", "400", errorString="The token does not verify.", terminate=True
            )
            self.sendCloseFrame(1008)
            return
        self.session_id = message.get("sessionIdentifier")
        if self.session_id not in self.fake.stored:
            self.session_id = f"session-{len(self.fake.stored) + 1}"
            self.fake.stored[self.session_id] = []
        self.instance = message.get("clientInstance", "")
        self.answer(
            "LogUIHandshakeSuccess",
            "200",
            sessionIdentifier=self.session_id,
            lastPayloadID=self.last_payload_id,
        )

    @property
    def last_payload_id(self) -> int:
        return self.fake.last_ids.get((self.session_id, self.instance), 0) + self.fake.lie

    def drop(self) -> None:
        """End the connection without a close frame, after what was sent."""
        self.gone = True
        self.transport.loseConnection()

    def store(self, message: Message) -> None:
        if message["payloadID"] > self.last_payload_id:
            self.fake.last_ids[self.session_id, self.instance] = message["payloadID"]
            self.fake.stored[self.session_id].append(message)

    def take(self, message: Message) -> None:
        """What a server does with a payload when nothing is wrong."""
        if self.unstored is not None and message["payloadID"] > self.unstored:
            self.cannot_store(message)
            return
        self.unstored = None
        self.store(message)
        if "session" in message:
            self.sendCloseFrame(1000)
        else:
            self.answer("LogUIEventPayloadSuccess", "201", payloadID=message["payloadID"])

    def cannot_store(self, message: Message) -> None:
        if self.unstored is None:
            self.unstored = message["payloadID"]
        self.answer(
            "LogUIServerError",
            "500",
            payloadID=message["payloadID"],
            errorString="The disk is full.",
            terminate=False,
        )

    def answer(self, response_type: str, status: str, **more: Any) -> None:
        details = {key: more.pop(key) for key in ("errorString", "terminate") if key in more}
        message = {"responseType": response_type, "statusCode": status, **more}
        if details:
            message["errorDetails"] = details
        self.sendMessage(json.dumps(message).encode())


Fault = Callable[[Conversation, Message], None]


def cannot_store(conversation: Conversation, message: Message) -> None:
    """500, ``terminate`` false."""
    conversation.cannot_store(message)


def cannot_store_nameless(conversation: Conversation, message: Message) -> None:
    """500, ``terminate`` false, without the payload's id; what the 500 is for is not stored."""
    conversation.unstored = message["payloadID"]
    conversation.answer("LogUIServerError", "500", errorString="The disk is full.", terminate=False)


def fail(conversation: Conversation, message: Message) -> None:
    """500, ``terminate`` true, and the end of the connection."""
    conversation.answer("LogUIServerError", "500", errorString="The server is broken.", terminate=True)
    conversation.sendCloseFrame(1011)


def refuse(conversation: Conversation, message: Message) -> None:
    """403, which names no payload."""
    conversation.answer(
        "LogUIBadEventPayloadRequest",
        "403",
        errorString="The event payload was badly formed at position [0].",
        terminate=False,
    )


def refuse_for_good(conversation: Conversation, message: Message) -> None:
    """402 and close 1008."""
    conversation.answer("LogUIBadRequestCountExceeded", "402", errorString="Five hits.", terminate=True)
    conversation.sendCloseFrame(1008)


def refuse_and_drop(conversation: Conversation, message: Message) -> None:
    """403, and the connection is lost before anything else is answered."""
    refuse(conversation, message)
    conversation.drop()


def drop(conversation: Conversation, message: Message) -> None:
    """The connection is lost, the payload too."""
    conversation.drop()


def store_and_drop(conversation: Conversation, message: Message) -> None:
    """The payload is stored, but its acknowledgement never comes."""
    conversation.store(message)
    conversation.drop()


def store_and_acknowledge_twice(conversation: Conversation, message: Message) -> None:
    """A server may repeat itself."""
    conversation.take(message)
    conversation.answer("LogUIEventPayloadSuccess", "201", payloadID=message["payloadID"])


def shut_down(conversation: Conversation, message: Message) -> None:
    """501; what comes in the drain time is taken; the client ends the connection, or nobody does."""
    conversation.answer("LogUIServerShutdown", "501")
    conversation.take(message)


def shut_down_and_close(conversation: Conversation, message: Message) -> None:
    """501, then 1001 at once; the payload is not stored."""
    conversation.answer("LogUIServerShutdown", "501")
    conversation.sendCloseFrame(1001)


def too_big(conversation: Conversation, message: Message) -> None:
    """Close 1009 without a word."""
    conversation.sendCloseFrame(1009)


def acknowledge_only(conversation: Conversation, message: Message) -> None:
    """201 even where the client leaves, which should be a close."""
    conversation.store(message)
    conversation.answer("LogUIEventPayloadSuccess", "201", payloadID=message["payloadID"])


def babble(conversation: Conversation, message: Message) -> None:
    """Not a LogUI message."""
    conversation.sendMessage(b'{"statusCode": 201}')


def ignore(conversation: Conversation, message: Message) -> None:
    """No answer, ever."""


class FakeServer:
    """The server, and all that it saw; set the script's attributes at any time."""

    def __init__(self, reactor: Any, faults: dict[int, Fault] | None = None) -> None:
        self.reactor = reactor
        self.faults = faults or {}
        self.refuse_upgrades = 0
        self.refusal_status = 503
        self.refuse_handshakes = False
        self.lie = 0
        self.protocol: type[Conversation] = Conversation
        self.upgrades: list[Any] = []
        self.conversations: list[Conversation] = []
        self.handshakes: list[Message] = []
        self.payloads: list[Message] = []
        self.closes: list[int | None] = []
        self.stored: dict[str | None, list[Message]] = {}
        self.last_ids: dict[tuple[str | None, str], int] = {}

    def start(self) -> None:
        factory = WebSocketServerFactory(reactor=self.reactor)
        factory.fake = self
        factory.noisy = False
        factory.protocol = self.protocol
        # Batched timers would outlive a test.
        factory.setProtocolOptions(
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            perMessageCompressionAccept=_accept_deflate,
        )
        self._listen(factory)

    def start_raw(self, factory: Factory) -> None:
        """Listen with another protocol, one that is no WebSocket server."""
        self._listen(factory)

    def _listen(self, factory: Factory) -> None:
        self._port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port.getHost().port}/logui/endpoint/0.4.0/"

    def stop(self) -> Deferred[None] | None:
        for conversation in self.conversations:
            conversation.transport.abortConnection()
        return self._port.stopListening()

    def events(self, session_id: str = "session-1") -> list[Message]:
        """The events stored for a session, in order."""
        return [event for message in self.stored[session_id] for event in message["eventsToBeLogged"]]

    def payload_ids(self) -> list[int]:
        """The ids of all payloads in the order they came, repeats included."""
        return [message["payloadID"] for message in self.payloads]


def _accept_deflate(offers: Iterable[Any]) -> Any:
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None
