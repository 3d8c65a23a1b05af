"""ClickHouse over HTTP: one statement a request, with errors as it tells them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import treq
from attrs import frozen
from OpenSSL.crypto import Error as CertificateError
from OpenSSL.SSL import Error as TLSError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers

from logui_tx.errors import BadOption, SinkAway
from logui_tx.model import SinkURI
from logui_tx.sinks.posting import retry_after

CONNECT_TIMEOUT = 10.0
LONGEST_TEXT = 300
"""Characters of what ClickHouse says that are told."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

SETTINGS = {
    # An error is told by the answer's status, and 200 means that all of it is there.
    "wait_end_of_query": "1",
    "async_insert": "0",
    "insert_deduplicate": "1",
    # All rows of a partition are one block: it is there, or it is not.
    "input_format_parallel_parsing": "0",
    "max_insert_block_size": "1048576",
    "min_insert_block_size_rows": "1048576",
    "min_insert_block_size_bytes": "0",
    # A batch's ids are looked for in one statement.
    "max_query_size": str(256 * 1024 * 1024),
}


@frozen
class ClickHouseError(Exception):
    """``code`` is ClickHouse's own, 0 where it said none."""

    status: int
    code: int
    text: str
    retry_after: float = 0.0


class ClickHouseHTTP:
    """``secure`` is by the URI's scheme; user and password are not in the URL: those end up in logs."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        """Raises :class:`BadOption`."""
        given = uri.parameters
        self._url = _url(uri)
        self._settings = {**SETTINGS, **_given(given["setting"])}
        self._timeout: float = given["timeout"]
        self._headers = {"X-ClickHouse-User": uri.user or "default"}
        if uri.password is not None:
            self._headers["X-ClickHouse-Key"] = uri.password
        self._reactor = reactor
        self._connections = HTTPConnectionPool(reactor)
        # Before the server closes them, by default after three seconds.
        self._connections.cachedConnectionTimeout = 2
        self._client = HTTPClient(Agent(reactor, _policy(uri), CONNECT_TIMEOUT, pool=self._connections))

    async def ask(
        self, statement: str, rows: bytes | None = None, gzipped: bool = False, **settings: str
    ) -> bytes:
        """What ClickHouse answers; ``rows`` are an INSERT's. Raises :class:`ClickHouseError`."""
        asked = {**self._settings, **settings}
        headers = dict(self._headers)
        body = statement.encode()
        if rows is not None:
            asked["query"], body = statement, rows
            if gzipped:
                headers["Content-Encoding"] = "gzip"
        asking = Deferred.fromCoroutine(self._post(f"{self._url}?{urlencode(asked)}", headers, body))
        asking.addTimeout(self._timeout, self._reactor, onTimeoutCancel=_too_late)
        try:
            return await asking
        except (ConnectError, ConnectTimeout, ConnectionClosed, DNSLookupError) as error:
            raise SinkAway(f"it cannot be reached: {error}") from None
        except (RequestTransmissionFailed, ResponseFailed) as error:
            raise SinkAway(f"the connection was lost: {_reason(error)}") from None

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> bytes:
        # Elsewhere nobody is to be told the password.
        response = await self._client.post(
            url, headers=Headers({k: [v] for k, v in headers.items()}), data=body, allow_redirects=False
        )
        answer: bytes = await treq.content(response)
        code = (response.headers.getRawHeaders("X-ClickHouse-Exception-Code") or ["0"])[0]
        if response.code == 200 and code == "0":
            return answer
        after = (response.headers.getRawHeaders("Retry-After") or [""])[0]
        text = " ".join(answer.decode(errors="replace").split())[:LONGEST_TEXT]
        raise ClickHouseError(
            response.code,
            int(code) if code.isdecimal() and len(code) < 9 else 0,
            text,
            retry_after(after, self._reactor.seconds()),
        )

    def close(self) -> Deferred[None]:
        closing: Deferred[None] = self._connections.closeCachedConnections()
        return closing


def _too_late(_result: object, seconds: float) -> bytes:
    raise SinkAway(f"no answer within {seconds:g} s")


def _reason(error: Exception) -> str:
    """In OpenSSL's words where TLS fails."""
    why: Any = error
    while reasons := getattr(why, "reasons", None):
        why = reasons[0].value
    if isinstance(why, TLSError) and why.args:
        return "; ".join(str(one[-1]) for one in why.args[0])
    return str(why)


def _url(uri: SinkURI) -> str:
    host, port = uri.host, ""
    if not host.endswith("]"):
        host, colon, port = uri.host.rpartition(":")
        host = host if colon else uri.host
        port = port if colon else ""
    if not host or "," in host or (port and not port.isdecimal()):
        raise BadOption("sink: clickhouse: one host is expected, clickhouse://host:8123/database.table")
    secure = uri.scheme == "clickhouses"
    return f"{'https' if secure else 'http'}://{host}:{port or ('8443' if secure else '8123')}/"


def _policy(uri: SinkURI) -> BrowserLikePolicyForHTTPS:
    ca = uri.parameters["ca"]
    if ca is None:
        return BrowserLikePolicyForHTTPS()
    try:
        found = [Certificate.loadPEM(one) for one in _CERTIFICATE.findall(Path(ca).read_bytes())]
    except OSError as error:
        raise BadOption(f"sink: clickhouse: ca: {error}") from None
    except CertificateError:
        found = []
    if not found:
        raise BadOption("sink: clickhouse: ca: a file of certificates (PEM) is expected")
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(found))


def _given(settings: Sequence[str]) -> dict[str, str]:
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.isidentifier():
            raise BadOption("sink: clickhouse: a setting is written setting=name=value")
        if name in SETTINGS or name in ("query", "user", "password", "insert_deduplication_token"):
            raise BadOption(f"sink: clickhouse: the setting {name} is the sink's own")
        found[name] = value
    return found
