"""``http:`` and ``https:`` post batches to a receiver, each with a key that is the same when it comes again.

Whether a batch is there is known to the receiver alone: an answer can be lost. So batches stay as they are
(:meth:`HTTPSink.prepare`), and whoever remembers the keys of what is kept has everything once.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence
from http.client import responses
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from logui_tx import __version__
from logui_tx.errors import BadOption, RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import SinkBatch, SinkURI
from logui_tx.records import record_json, session_json
from logui_tx.sinks.posting import Answer, Poster, checked_url
from logui_tx.threads import daemon_pool

SHORTEST_SECRET = 16
"""Characters."""

_PATH = "/:@!$&'()*+,;=~-._"
_TYPES = {"ndjson": "application/x-ndjson", "json": "application/json"}


@implementer(ISink)
class HTTPSink:
    """See :class:`ISink`."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        """Raises :class:`BadOption`."""
        chosen = uri.parameters
        self._url = _url(uri)
        self._secret = _secret(chosen["secret-file"], "secret-file", SHORTEST_SECRET)
        self._headers = {
            "User-Agent": f"logui-tx/{__version__}",
            "Content-Type": _TYPES[chosen["format"]],
            **_authorization(uri),
        }
        self._lines: bool = chosen["format"] == "ndjson"
        self._gzip: bool = chosen["compress"] == "gzip"
        if self._gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._sessions: bool = chosen["sessions"] == "yes"
        self._temporary: frozenset[int] = chosen["temporary"]
        self._reactor = reactor
        self._threads: ThreadPool | None = None
        try:
            self._poster = Poster(reactor, timeout=chosen["timeout"], ca=chosen["ca"])
        except ValueError as error:
            raise BadOption(f"sink: {uri.scheme}: ca: {error}") from None

    def open(self, state: bytes) -> Deferred[None]:  # noqa: ARG002 - the receiver knows
        if self._threads is None:
            self._threads = daemon_pool("http", 1)
            self._threads.start()
        return succeed(None)

    def prepare(self, batch: SinkBatch) -> Deferred[bytes]:  # noqa: ARG002
        """Nothing; but now the batch comes again as it is."""
        return succeed(b"")

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._write(batch))

    def close(self) -> Deferred[None]:
        if self._threads is not None:
            threads, self._threads = self._threads, None
            threads.stop()
        return self._poster.close()

    async def _write(self, batch: SinkBatch) -> bytes:
        # Sessions first: where they are refused, no record may have been kept.
        if batch.sessions and self._sessions:
            body = await self._body([session_json(session) for session in batch.sessions])
            # They stand as they stand by now: the same batch may tell other things of them.
            told = hashlib.sha256(body).hexdigest()[:16]
            await self._post("sessions", f"{key(batch)}-sessions-{told}", body)
        if batch.records:
            body = await self._body([record_json(record) for record in batch.records])
            await self._post("records", key(batch), body)
        return b""

    async def _body(self, objects: Sequence[bytes]) -> bytes:
        body = b"\n".join([*objects, b""]) if self._lines else b"[%b]" % b",".join(objects)
        if not self._gzip:
            return body
        if self._threads is None:
            raise SinkAway("the sink is closed")
        # Without the time, so that the same is the same.
        packed: bytes = await deferToThreadPool(
            self._reactor, self._threads, gzip.compress, body, compresslevel=6, mtime=0
        )
        return packed

    async def _post(self, what: str, batch_key: str, body: bytes) -> None:
        headers = {**self._headers, "Idempotency-Key": batch_key, "Logui-Content": what}
        if self._secret is not None:
            headers["Logui-Signature"] = sign(self._secret, int(self._reactor.seconds()), body)
        answer = await self._poster.post(self._url, headers, body)
        self._look_at(answer)

    def _look_at(self, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        # What it says besides may be anything, also what we sent it.
        text = f"answered {status} {responses.get(status, '')}".rstrip()
        if 300 <= status < 400:
            text += ": redirects are not followed, give the URI that it leads to"
        if 400 <= status < 500 and status not in self._temporary:
            raise RecordsRefused(text)
        raise SinkAway(text, answer.retry_after)


def key(batch: SinkBatch) -> str:
    """Between the same bounds are the same records."""
    first, after = batch.first, batch.after
    bounds = f"{first.segment}-{first.event}-{after.segment}-{after.event}"
    return f"{quote(batch.journal_id, safe='')}-{bounds}"


def sign(secret: bytes, now: int, body: bytes) -> str:
    """The header ``Logui-Signature``: HMAC-SHA256 over ``now`` (UNIX seconds), a dot, and the body."""
    signed = hmac.new(secret, b"%d." % now + body, hashlib.sha256)
    return f"t={now},v1={signed.hexdigest()}"


def _url(uri: SinkURI) -> str:
    query = uri.parameters["query"]
    path = quote(uri.path or "/", safe=_PATH)
    try:
        return checked_url(f"{uri.scheme}://{uri.host}{path}{'?' + query if query else ''}")
    except ValueError as error:
        form = f"{uri.scheme}://collector.example.org/path would be one"
        raise BadOption(f"sink: {uri.scheme}: {error}: {form}") from None


def _authorization(uri: SinkURI) -> dict[str, str]:
    token = _secret(uri.parameters["token-file"], "token-file", 1)
    if token is not None and uri.user is not None:
        raise BadOption(f"sink: {uri.scheme}: either a user or token-file")
    if token is not None:
        return {"Authorization": f"Bearer {token.decode('latin-1')}"}
    if uri.user is not None:
        both = f"{uri.user}:{uri.password or ''}".encode()
        return {"Authorization": f"Basic {b64encode(both).decode()}"}
    return {}


def _secret(file: str | None, name: str, shortest: int) -> bytes | None:
    """What is in the file, without white space around it."""
    if file is None:
        return None
    try:
        found = Path(file).read_bytes().strip()
    except OSError as error:
        raise BadOption(f"sink: {name}: {error.strerror}: {file}") from None
    if len(found) < shortest or not found.isascii() or any(one < 33 for one in found):
        raise BadOption(f"sink: {name}: one line of at least {shortest} characters is expected in {file}")
    return found
