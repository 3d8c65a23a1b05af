"""Pages of another origin that use the browser clients, and a network between them and the server to cut."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Page

from logui_tx.registry.database import open_engine
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner
from logui_tx.web.site import client_file
from tests.integration.browser import PATIENCE, BrowserTestCase

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A study</title><link rel="icon" href="data:,"></head>
<body style="margin: 0; height: 4000px">
<button id="buy" style="position: absolute; left: 10px; top: 10px; width: 80px; height: 30px">Buy it</button>
<a id="next" href="/two" style="position: absolute; left: 10px; top: 60px">On</a>
<form style="position: absolute; left: 10px; top: 100px"><input id="secret" type="password"
 autocomplete="off">
</form>
<p data-logui-mask style="position: absolute; left: 10px; top: 130px"><b id="patient">Jane Doe</b></p>
<form id="search" action="/found" style="position: absolute; left: 10px; top: 200px"><input name="q"></form>
<script type="module">%s</script></body></html>"""


class PageServer:
    """Answers every path with the page whose script is ``script``; ``/client/`` has the clients' files."""

    def __init__(self) -> None:
        self.script = ""
        self.headers: dict[str, str] = {}
        outer = self

        class Request(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/client/")
                script = self.path.startswith("/client/")
                body = client_file(name) if script else (HTML % outer.script).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/javascript" if script else "text/html")
                self.send_header("Content-Length", str(len(body)))
                for header, value in outer.headers.items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Network:
    """A TCP port that leads to another; :meth:`cut` ends what goes through it without a goodbye."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.up = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                try:
                    if not self.up:
                        raise OSError
                    far = socket.create_connection(("127.0.0.1", self._target()))
                except OSError:
                    near.close()
                    continue
                self._lines |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=partial(self._carry, source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self, up: bool = False) -> None:
        """Every connection is reset; ``up`` says whether new ones are let through."""
        with self._lock:
            self.up = up
            for line in self._lines:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
            self._lines.clear()

    def mend(self) -> None:
        self.up = True

    def stop(self) -> None:
        self._listener.close()
        self.cut()


class ClientTestCase(BrowserTestCase):
    """Pages that log to ``self.server`` through ``self.network``, for a flight of their host."""

    def setUp(self) -> None:
        super().setUp()
        self.token = self.new_token("Pilot")
        self.network = Network(lambda: self.server.port)
        self.addCleanup(self.network.stop)
        self.pages = PageServer()
        self.addCleanup(self.pages.stop)
        self.done: list[Any] = []

    def new_token(self, name: str) -> str:
        """Of a new flight, of an application of its own, as ``logui flight create`` prints it."""
        engine = open_engine(None, self.data_dir)
        try:
            signer = TokenSigner(SigningKeys(self.data_dir))
            registry = Registry(engine, signer)
            application = registry.create_application(name)
            return signer.issue(registry.create_flight(application.id, name, ["127.0.0.1"]))
        finally:
            engine.dispose()

    def use(self, script: str, **options: Any) -> None:
        """From now on pages have this script, in which ``options`` are the client's."""
        self.pages.script = f"const options = {json.dumps(options)};\n{script}"

    def visit(self, path: str = "/") -> Page:
        self.page.goto(self.pages.url + path)
        return self.page

    def wait_for(self, expression: str) -> None:
        """Until it holds in the page."""
        self.page.wait_for_function(f"() => ({expression})", timeout=PATIENCE)

    def details(self) -> list[Any]:
        """What is stored of each event, in order; also holds sequence numbers to have no gap."""
        stored = self.stored()
        expected = [n for session in self.sessions() for n in range(1, session.events + 1)]
        self.assertEqual([seq for seq, _, _ in stored], expected)
        return [event.get("eventDetails", event) for _, event, _ in stored]
