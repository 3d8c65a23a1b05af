"""What answers at which path: one port for HTTP and WebSocket."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.web.http import CACHED
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

STATIC = Path(__file__).with_name("static")
BROWSER = Path(__file__).with_name("browser")
"""The browser clients: modules for other people's pages."""
MAX_BODY = 16_384
"""Bytes of a request's body past which its connection is cut."""
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
        return b"" if request.setETag(self._tag) is CACHED else self._body


def static_files() -> Folder:
    """The files that pages need, read now: nothing of a request ever becomes a path."""
    return Folder({path.name: Page(path.read_bytes(), _content_type(path)) for path in STATIC.iterdir()})


def client_files() -> Folder:
    """The browser clients and their types, read now."""
    return Folder(
        {path.name: Page(path.read_bytes(), _content_type(path), public=True) for path in BROWSER.iterdir()}
    )


def _content_type(path: Path) -> str:
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


class _Request(Request):
    """No request of ours has a body worth speaking of; Twisted would write a long one to the disk."""

    _body = 0

    def gotLength(self, length: int | None) -> None:
        Request.gotLength(self, min(length or 0, MAX_BODY))

    def handleContentChunk(self, data: bytes) -> None:
        self._body += len(data)
        if self._body <= MAX_BODY:
            Request.handleContentChunk(self, data)
        else:
            # Nobody who sends so much here waits for an answer.
            self.channel.forceAbortClient()


def make_site(root: Resource, reactor: Any) -> Site:
    """The factory to listen with."""
    site = Site(root, requestFactory=_Request, reactor=reactor, timeout=IDLE_TIMEOUT)
    site.displayTracebacks = False
    site.noisy = False
    # A request of a page may hold events: it is nobody's business in a log file.
    site.log = lambda request: None  # type: ignore[method-assign]  # noqa: ARG005
    return site
