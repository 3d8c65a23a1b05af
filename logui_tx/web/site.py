"""What answers at which path: one port for HTTP and WebSocket."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web import http
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

STATIC = Path(__file__).with_name("static")
BROWSER = Path(__file__).with_name("browser")
"""The browser clients: modules for other people's pages."""
LINGER = 2.0
"""Seconds for a client to see that its request is too long, and to stop sending."""
IDLE_TIMEOUT = 60
"""Seconds after which an HTTP connection that asks nothing is closed."""

_TYPES = {".js": "text/javascript", ".ts": "text/plain"}
"""Where the machine's own table may be of another mind: it often takes the second for video."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Folder(Resource):
    """A path that has children only; ``/x`` and ``/x/`` are the same to it."""

    def __init__(self, children: Mapping[str, IResource]) -> None:
        Resource.__init__(self)
        for name, child in children.items():
            self.putChild(name.encode(), child)

    def getChild(self, path: bytes, request: Request) -> IResource:
        return self if path == b"" and request.postpath == [] else notFound()

    def render(self, request: Request) -> Any:
        return notFound().render(request)


class Root(Folder):
    """The site's top: security headers on everything below it."""

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        request.responseHeaders.removeHeader("server")
        child: IResource = Resource.getChildWithDefault(self, path, request)
        return child


class Page(Resource):
    """A body that is known beforehand, at ``/x`` and ``/x/``; browsers ask each time whether it changed.

    What is ``public`` may be used by the pages of any site.
    """

    def __init__(
        self, body: str | bytes, content_type: str = "text/html; charset=utf-8", *, public: bool = False
    ) -> None:
        Resource.__init__(self)
        self._public = public
        self._body = body if isinstance(body, bytes) else body.encode()
        self._type = content_type
        self._tag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'.encode()

    def getChild(self, path: bytes, request: Request) -> IResource:
        return self if path == b"" and request.postpath == [] else notFound()

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", self._type)
        request.setHeader("Cache-Control", "no-cache")
        if self._public:
            request.setHeader("Access-Control-Allow-Origin", "*")
            request.setHeader("Cross-Origin-Resource-Policy", "cross-origin")
        return b"" if request.setETag(self._tag) is http.CACHED else self._body


def static_files() -> Folder:
    """The files that pages need, read now: nothing of a request ever becomes a path."""
    return Folder({path.name: Page(path.read_bytes(), _content_type(path)) for path in STATIC.iterdir()})


def client_files() -> Folder:
    """The browser clients and their types, read now."""
    return Folder(
        {
            path.name: Page(client_file(path.name), _content_type(path), public=True)
            for path in BROWSER.iterdir()
        }
    )


def client_file(name: str) -> bytes:
    """What is served of a file of the browser clients: scripts go without indentation, empty lines and lines
    that are only a comment. No string or template of theirs may span lines."""
    source = (BROWSER / name).read_bytes()
    if not name.endswith(".js"):
        return source
    lines = [line.strip() for line in source.splitlines()]
    return b"".join(line + b"\n" for line in lines if line and not line.startswith(b"//"))


def _content_type(path: Path) -> str:
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


class _Site(Site):
    """``max_body`` is the largest body of a request, in bytes; ``allow_reading`` lets the page that sent a
    larger one read the answer, by setting headers."""

    displayTracebacks = False
    noisy = False
    max_body: int
    allow_reading: Callable[[Request], Awaitable[object]] | None = None

    def log(self, request: http.Request) -> None:
        """A request of a page may hold events: it is nobody's business in a log file."""


class _Request(Request):
    """No request of ours has a long body; Twisted would write it to the disk before anybody looked at it."""

    channel: Any
    _body = 0
    _too_long = False

    def gotLength(self, length: int | None) -> None:
        most = self.channel.site.max_body
        Request.gotLength(self, min(length or 0, most))
        if length is not None and length > most:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        self._body += len(data)
        if self._body <= self.channel.site.max_body:
            Request.handleContentChunk(self, data)
        elif not self._too_long:
            self._refuse_body()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._too_long:
            Request.requestReceived(self, command, path, version)

    def _refuse_body(self) -> None:
        """Answer before the end. What still comes is thrown away: a connection that is closed with something
        unread is reset, and the client would not see the answer."""
        self._too_long = True
        gone = self.notifyFinish()
        timer = self.channel.site.reactor.callLater(LINGER, self._cut)
        answering = Deferred.fromCoroutine(self._say_too_long())

        def stop(_gone: object) -> None:
            if timer.active():
                timer.cancel()
            answering.cancel()

        gone.addErrback(stop)
        answering.addErrback(lambda _failed: self._cut())

    async def _say_too_long(self) -> None:
        site = self.channel.site
        if site.allow_reading is not None:
            await site.allow_reading(self)
        body = b'{"error":"The body has more than %d bytes."}\n' % site.max_body
        headers = self.responseHeaders
        headers.setRawHeaders("Connection", ["close"])
        headers.setRawHeaders("Content-Length", [str(len(body))])
        headers.setRawHeaders("Content-Type", ["application/json"])
        headers.setRawHeaders("Cache-Control", ["no-store"])
        headers.setRawHeaders("Vary", ["Origin"])
        headers.removeHeader("server")
        lines = [b"%b: %b" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        head = b"\r\n".join([b"HTTP/1.1 413 Content Too Large", *lines, b"", b""])
        transport: Any = self.channel.transport
        transport.write(head + body)

    def _cut(self) -> None:
        if self.channel is not None:
            self.channel.forceAbortClient()


def make_site(root: Resource, reactor: Any, max_body: int) -> _Site:
    """The factory to listen with."""
    site: _Site = _Site(root, requestFactory=_Request, reactor=reactor, timeout=IDLE_TIMEOUT)  # type: ignore[no-untyped-call]
    site.max_body = max_body
    return site
