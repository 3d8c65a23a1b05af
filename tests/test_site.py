import http.client
import json
import socket
from contextlib import closing
from typing import NamedTuple

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.web import site
from logui_tx.web.site import STATIC, Folder, Page, Root, client_file, client_files, make_site, static_files

BODY = "<p>Grüße"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class SiteTestCase(TestCase):
    """A site with ``/``, ``/demo``, ``/static`` and a folder, asked over a real connection."""

    timeout = 60

    def setUp(self) -> None:
        root = Root(
            {
                "": Page("top"),
                "demo": Page(BODY),
                "static": static_files(),
                "client": client_files(),
                "a": Folder({"b": Page("b")}),
            }
        )
        self.site = make_site(root, reactor, 16_384)
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    async def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """``path`` goes out as it is, nothing is made tidy."""

        def ask() -> Answer:
            address = self.port.getHost()
            with closing(http.client.HTTPConnection(address.host, address.port, timeout=60)) as connection:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                connection.request(method, path, body, {"Connection": "close", **named})
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read())

        return await deferToThread(ask)


class PageTests(SiteTestCase):
    async def test_with_and_without_a_slash(self) -> None:
        for path in ("/demo", "/demo/", "/demo?x=1"):
            answer = await self.ask(path)
            self.assertEqual((answer.status, answer.body.decode()), (200, BODY), path)
            self.assertEqual(answer.headers["Content-Type"], "text/html; charset=utf-8")
            self.assertEqual(answer.headers["Cache-Control"], "no-cache")

    async def test_the_top(self) -> None:
        self.assertEqual((await self.ask("/")).body, b"top")

    async def test_what_is_not_there(self) -> None:
        for path in (
            "/demo/x",
            "/demo//",
            "/demo/x/",
            "/nothing",
            "/a",
            "/a/",
            "/a/x",
            "/a//",
            "/DEMO",
            "/%ff",
        ):
            self.assertEqual((await self.ask(path)).status, 404, path)

    async def test_a_long_body_is_not_taken(self) -> None:
        """Not into memory, and not to the disk, as Twisted would; the answer does not wait for it."""

        def send(head: bytes, piece: bytes) -> tuple[bytes, bool]:
            """The first line of the answer, and whether the sender was stopped."""
            address = self.port.getHost()
            with closing(socket.create_connection((address.host, address.port), timeout=60)) as connection:
                connection.sendall(b"POST /demo/ HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + piece)
                answer = connection.recv(65_536)
                try:
                    while True:
                        connection.sendall(piece)
                except ConnectionError:
                    return answer.partition(b"\r\n")[0], True

        whole = b"x" * 65_536
        self.patch(site, "LINGER", 0.2)
        for head, piece in (
            (b"Content-Length: 100000000000", whole),
            (b"Transfer-Encoding: chunked", b"10000\r\n" + whole + b"\r\n"),
        ):
            said = await deferToThread(send, head, piece)
            self.assertEqual(said, (b"HTTP/1.1 413 Content Too Large", True))

    async def test_it_is_answered_once(self) -> None:
        def send() -> bytes:
            address = self.port.getHost()
            with closing(socket.create_connection((address.host, address.port), timeout=60)) as connection:
                connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                connection.sendall((b"1000\r\n" + b"x" * 4096 + b"\r\n") * 20)
                connection.sendall(b"0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                try:
                    while piece := connection.recv(65_536):
                        answer += piece
                except ConnectionError:
                    pass
                return answer

        self.patch(site, "LINGER", 0.2)
        self.assertEqual((await deferToThread(send)).count(b"HTTP/1.1"), 1)

    async def test_a_body_that_is_too_long_and_ends(self) -> None:
        for length, status in ((16_384, 405), (16_385, 413)):
            answer = await self.ask("/demo/", "POST", body=b"x" * length)
            self.assertEqual(answer.status, status)
        self.assertEqual(json.loads(answer.body), {"error": "The body has more than 16384 bytes."})
        self.assertEqual(answer.headers["Connection"], "close")

    async def test_a_path_is_not_shown_back(self) -> None:
        answer = await self.ask("/<script>alert(1)</script>")
        self.assertEqual(answer.status, 404)
        self.assertNotIn(b"alert", answer.body)

    async def test_head(self) -> None:
        got, asked = await self.ask("/demo/"), await self.ask("/demo/", "HEAD")
        self.assertEqual((asked.status, asked.body), (200, b""))
        self.assertEqual(asked.headers["Content-Length"], str(len(BODY.encode())))
        self.assertEqual(asked.headers["Content-Type"], got.headers["Content-Type"])

    async def test_other_methods(self) -> None:
        answer = await self.ask("/demo/", "POST")
        self.assertEqual(answer.status, 405)
        self.assertEqual(set(answer.headers["Allow"].split(", ")), {"GET", "HEAD"})
        self.assertEqual((await self.ask("/demo/", "DELETE")).status, 501)


class HeaderTests(SiteTestCase):
    async def test_everything_is_guarded(self) -> None:
        for method, path, status in (
            ("GET", "/", 200),
            ("GET", "/demo/", 200),
            ("HEAD", "/demo/", 200),
            ("POST", "/demo/", 405),
            ("GET", "/nothing", 404),
            ("GET", "/a/x", 404),
            ("GET", "/static/demo.js", 200),
            ("GET", "/static/nothing", 404),
        ):
            answer = await self.ask(path, method)
            self.assertEqual(answer.status, status, path)
            self.assertEqual(
                answer.headers["Content-Security-Policy"],
                "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'self'",
                path,
            )
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff", path)
            self.assertEqual(answer.headers["Referrer-Policy"], "same-origin", path)
            self.assertNotIn("Server", answer.headers, path)


class ClientFileTests(SiteTestCase):
    async def test_pages_of_any_site_may_use_them(self) -> None:
        for name, kind in (("logui.js", "text/javascript"), ("kraken.d.ts", "text/plain")):
            answer = await self.ask(f"/client/{name}", Origin="https://www.example.org")
            self.assertEqual((answer.status, answer.body), (200, client_file(name)))
            self.assertEqual(answer.headers["Content-Type"], f"{kind}; charset=utf-8")
            self.assertEqual(answer.headers["Access-Control-Allow-Origin"], "*")
            self.assertEqual(answer.headers["Cross-Origin-Resource-Policy"], "cross-origin")
            again = await self.ask(f"/client/{name}", If_None_Match=answer.headers["ETag"])
            self.assertEqual((again.status, again.headers["Access-Control-Allow-Origin"]), (304, "*"))

    async def test_nothing_else_is_for_them(self) -> None:
        for path in ("/", "/demo/", "/static/demo.js", "/client/", "/client/nothing"):
            answer = await self.ask(path)
            self.assertNotIn("Access-Control-Allow-Origin", answer.headers, path)


class StaticFileTests(SiteTestCase):
    async def test_content_types(self) -> None:
        # nosniff makes a browser refuse a script or a style sheet of another type.
        for path, types in (
            ("demo.js", {"text/javascript", "application/javascript"}),
            ("demo.css", {"text/css"}),
            ("icon.svg", {"image/svg+xml"}),
        ):
            answer = await self.ask(f"/static/{path}")
            self.assertEqual((answer.status, answer.body), (200, (STATIC / path).read_bytes()))
            self.assertIn(answer.headers["Content-Type"].partition(";")[0], types)

    async def test_what_did_not_change_is_not_sent_again(self) -> None:
        for path in ("/static/demo.js", "/demo/"):
            first = await self.ask(path)
            self.assertEqual(first.headers["Cache-Control"], "no-cache")
            again = await self.ask(path, If_None_Match=first.headers["ETag"])
            self.assertEqual((again.status, again.body), (304, b""))
            changed = await self.ask(path, If_None_Match='"another"')
            self.assertEqual((changed.status, changed.body), (200, first.body))

    async def test_head(self) -> None:
        answer = await self.ask("/static/demo.js", "HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.headers["Content-Length"], str((STATIC / "demo.js").stat().st_size))

    async def test_other_methods(self) -> None:
        self.assertEqual((await self.ask("/static/demo.js", "POST")).status, 405)

    async def test_there_is_no_listing(self) -> None:
        for path in ("/static/", "/static//", "/static/."):
            answer = await self.ask(path)
            self.assertNotEqual(answer.status, 200, path)
            self.assertNotIn(b"demo.js", answer.body, path)

    async def test_nothing_outside_is_reached(self) -> None:
        self.assertTrue((STATIC.parent / "site.py").exists())
        for path in (
            "/static/../site.py",
            "/static/%2e%2e/site.py",
            "/static/..%2fsite.py",
            "/static/%2e%2e%2fsite.py",
            "/static/..%5csite.py",
            "/static/%252e%252e/site.py",
            "/static/./../site.py",
            "/static/demo.js/../../site.py",
            "/static/%2fetc%2fpasswd",
            "/static//etc/passwd",
            "/../logui_tx/web/site.py",
            "/static/%00",
            "/static/demo.js%00",
            "/static/%ff",
        ):
            answer = await self.ask(path)
            self.assertEqual(answer.status, 404, path)
            self.assertNotIn(b"import", answer.body, path)
            self.assertNotIn(b"root:", answer.body, path)

    async def test_a_name_too_long_for_a_file(self) -> None:
        self.assertEqual((await self.ask("/static/" + "x" * 2000)).status, 404)
