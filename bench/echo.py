"""The yardstick: Autobahn as it comes. It takes the same messages and answers each by as few bytes as the
server does, and does nothing else: it checks nothing and keeps nothing.

``python -m bench.echo ENDPOINT ANSWER [deflate]``; with an empty answer only pings are answered.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.python import log

ENDPOINT, ANSWER, *MORE = sys.argv[1:]


class Echo(WebSocketServerProtocol):  # type: ignore[misc]
    answer = ANSWER.encode()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: ARG002
        if self.answer:
            self.sendMessage(self.answer, doNotCompress=True)


def accept(offers: Sequence[Any]) -> Any:
    wanted = (offer for offer in offers if isinstance(offer, PerMessageDeflateOffer))
    return next(map(PerMessageDeflateOfferAccept, wanted), None)


def main() -> None:
    factory = WebSocketServerFactory()
    factory.protocol = Echo
    if MORE:
        factory.setProtocolOptions(perMessageCompressionAccept=accept)
    listening = serverFromString(reactor, f"{ENDPOINT}:backlog=4096").listen(factory)
    listening.addCallback(lambda port: print(f"listening on http://127.0.0.1:{port.getHost().port}/"))  # noqa: T201
    listening.addErrback(log.err)
    reactor.run()


log.startLogging(sys.stdout)
main()
