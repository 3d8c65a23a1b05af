"""POST over HTTP to a server of which nothing is believed: it may be slow, endless, or not speak HTTP.

For all sinks that speak HTTP: the only module that knows treq.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from attrs import field, frozen
from hyperlink import URL
from OpenSSL.crypto import Error as CryptoError
from OpenSSL.SSL import Error as SSLError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

from logui_tx.errors import SinkAway

MOST_READ = 64 * 1024
"""Bytes of an answer that are read; what follows is not waited for."""

KEPT_OPEN = 2.0
"""Seconds that a connection waits for the next request. Less than any server's patience, or it might close
just when a request is on its way."""

_LONGEST_RETRY_AFTER = 3600.0
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@frozen
class Answer:
    """``body`` has at most :data:`MOST_READ` bytes, and is ``whole`` where that is known to be all;
    ``retry_after`` is in seconds, 0 where none was told."""

    status: int
    body: bytes
    retry_after: float
    whole: bool = True
    headers: Headers = field(factory=Headers)


class Poster:
    """Posts to one server, one request at a time.

    ``timeout`` bounds a request from its connection to the answer's end; ``ca`` is a file (PEM) with the
    authorities to trust instead of the system's. Raises ValueError where that does not do.
    """

    def __init__(self, reactor: Any, *, timeout: float, ca: str | None = None) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = 1
        self._pool.cachedConnectionTimeout = KEPT_OPEN  # type: ignore[assignment]
        self._pool.retryAutomatically = False
        self._pool._factory = _Quiet
        self._agent = _AsItIs(Agent(reactor, _policy(ca), timeout, pool=self._pool))

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Deferred[Answer]:
        """Fires with the answer, whatever it is; fails with :class:`SinkAway` where there is none."""
        posting = Deferred.fromCoroutine(self._post(url, headers, body))
        late = f"no answer within {self._timeout:g} s"
        posting.addTimeout(self._timeout, self._reactor, lambda _result, _seconds: _fail(late))
        return posting.addErrback(_explained)

    def close(self) -> Deferred[None]:
        """Fires when no connection is open."""
        closing: Deferred[None] = self._pool.closeCachedConnections()
        return closing.addCallback(lambda _: None)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        # A client of its own each time: cookies are not kept.
        response = await HTTPClient(self._agent).post(
            url,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        reading = _Reading()
        response.original.deliverBody(reading)
        whole = await reading.done
        told = response.headers.getRawHeaders("Retry-After") or [""]
        after = retry_after(told[0], self._reactor.seconds())
        return Answer(response.code, bytes(reading.read), after, whole, response.headers)


class _Quiet(HTTPConnectionPool._factory):  # type: ignore[misc, valid-type]
    """Nobody wants to read of each connection."""

    noisy = False


@implementer(IAgent)
class _AsItIs:
    """An agent whose answers are not unpacked: few bytes may stand for very many."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None
    ) -> Deferred[IResponse]:
        if headers is not None:
            headers.removeHeader("Accept-Encoding")

        def packed(response: IResponse) -> IResponse:
            response.headers.removeHeader("Content-Encoding")
            return response

        return self._agent.request(method, uri, headers, bodyProducer).addCallback(packed)


class _Reading(Protocol):
    """Gathers the beginning of an answer's body in ``read``; ``done`` fires with whether that is all."""

    def __init__(self) -> None:
        self.done: Deferred[bool] = Deferred(lambda _: self._abort())
        self.read = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self.read += data
        if len(self.read) > MOST_READ:
            del self.read[MOST_READ:]
            self._abort()
            self._end(False)

    def connectionLost(self, reason: Failure = Failure(ResponseDone())) -> None:  # noqa: B008
        # Of an answer without a length nobody can tell more.
        if reason.check(ResponseDone, PotentialDataLoss):
            self._end(reason.check(ResponseDone) is not None)
        elif not self.done.called:
            self.done.errback(reason)

    def _end(self, whole: bool) -> None:
        if not self.done.called:
            self.done.callback(whole)

    def _abort(self) -> None:
        abort: Callable[[], None] | None = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()


def checked_url(text: str) -> str:
    """The URL as it is asked for. Raises ValueError with what is wrong, without the URL."""
    host = text.partition("//")[2].partition("/")[0]
    if "[" in host:
        # treq takes it for a name that cannot be one.
        raise ValueError("an IPv6 address cannot be written here; give it a name")
    try:
        url = URL.from_text(text).to_uri()
    except ValueError:
        raise ValueError("one host is expected") from None
    if not url.host or any(one in host for one in ", \t\\%"):
        raise ValueError("one host is expected")
    if not 0 < (url.port or 0) < 65536 or (":" in host and not host.rpartition(":")[2].isascii()):
        raise ValueError("a port is a number from 1 to 65535")
    return str(url.to_text())


def retry_after(told: str, now: float) -> float:
    """Seconds of a header ``Retry-After``, an HTTP date or a number (RFC 9110, section 10.2.3).

    0 where it makes no sense; an hour at most, ``now`` in UNIX seconds.
    """
    told = told.strip()
    if re.fullmatch(r"\d{1,15}", told, re.ASCII):
        seconds = float(told)
    else:
        try:
            seconds = parsedate_to_datetime(told).timestamp() - now
        except (ValueError, OverflowError, TypeError, IndexError):
            return 0.0
    return max(0.0, min(seconds, _LONGEST_RETRY_AFTER))


def _policy(ca: str | None) -> BrowserLikePolicyForHTTPS:
    if ca is None:
        return BrowserLikePolicyForHTTPS()
    try:
        found = [Certificate.loadPEM(one) for one in _CERTIFICATE.findall(Path(ca).read_bytes())]
    except (OSError, SSLError, CryptoError):
        found = []
    if not found:
        raise ValueError("a file of certificates (PEM) is expected")
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(found))


def _fail(why: str) -> Any:
    raise SinkAway(why)


def _explained(failure: Failure) -> Any:
    """Only in our own words, and OpenSSL's: an answer may hold anything."""
    why = failure.value
    while reasons := getattr(why, "reasons", None):
        why = reasons[0].value
    if isinstance(why, SinkAway):
        raise why
    if isinstance(why, CancelledError):
        return failure
    for kind, text in _WORDS.items():
        if isinstance(why, kind):
            raise SinkAway(text) from None
    if isinstance(why, SSLError):
        found = why.args[0] if why.args and isinstance(why.args[0], list) else []
        raise SinkAway(
            f"TLS fails: {'; '.join(str(one[-1]) for one in found) or 'no more is known'}"
        ) from None
    raise SinkAway(f"the connection was lost, or what came is not HTTP ({type(why).__name__})") from None


_WORDS: dict[type[BaseException], str] = {
    ConnectionRefusedError: "the connection is refused",
    DNSLookupError: "the host's name is not known",
    ConnectTimeout: "no connection in time",
    ConnectingCancelledError: "no connection in time",
    ConnectError: "it cannot be reached",
    VerificationError: "TLS fails: the certificate is another host's",
}
