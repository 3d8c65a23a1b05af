"""PROTOCOL, section 3, INIT: ``POST /kraken/init`` over real connections."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from ipaddress import ip_network
from typing import Any

from twisted.internet.threads import deferToThread

from logui_tx.errors import RegistryError
from logui_tx.model import LISTENERS
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys
from logui_tx.web import site
from tests.integration.visitors import ORIGIN, Answer, VisitedTestCase

CORS = "Access-Control-Allow-Origin"
ELSEWHERE = "https://evil.example"


class InitTestCase(VisitedTestCase):
    def assert_answer(self, answer: Answer, status: int, cors: str | None, says: str = "") -> None:
        self.assertEqual((answer.status, answer.headers[CORS]), (status, cors), answer.body)
        self.assertEqual(answer.headers["Access-Control-Allow-Credentials"], "true" if cors else None)
        self.assertEqual(answer.headers["Vary"], "Origin")
        if status != 204:
            self.assertEqual(answer.headers["Cache-Control"], "no-store")
            self.assertEqual(answer.headers["Content-Type"], "application/json")
        if status >= 400:
            self.assertIn(says, answer.json["error"])
            self.assertIsNone(answer.headers["Set-Cookie"])
            self.assertNotIn(self.token.encode(), answer.body)


class AnswerTests(InitTestCase):
    async def test_what_a_page_is_told(self) -> None:
        answer = await self.init()
        self.assert_answer(answer, 200, ORIGIN)
        told = answer.json
        self.assertRegex(told.pop("ticket"), r"^[\w.-]+$")
        self.assertEqual(
            told,
            {
                "ttl": 15,
                "endpoint": f"ws://127.0.0.1:{self.port}/kraken/socket",
                "meta": {
                    "application": self.registry.get_flight(self.flight.id).application_name,
                    "flight": "Pilot",
                    "listeners": list(LISTENERS),
                    "sampling": {"mousemove": 0},
                    "metadata": {},
                },
            },
        )

    async def test_the_endpoint_is_where_the_page_asked(self) -> None:
        proxied = {"X_Forwarded_Proto": "https"}
        for host, endpoint in (
            ("Logs.example", "ws://logs.example/kraken/socket"),
            ("[::1]:8081", "ws://[::1]:8081/kraken/socket"),
            ("logs.example:99", "ws://logs.example:99/kraken/socket"),
        ):
            answer = await self.init(Host=host, **proxied)
            self.assertEqual(answer.json["endpoint"], endpoint)
        for host in ("", "a b", "a/b", "user@a", 'a"', "a\\b", "a:99:9", "[", "x" * 300, "\xff", "a..b"):
            self.assert_answer(await self.init(Host=host), 400, ORIGIN, "Host")

    async def test_behind_a_proxy(self) -> None:
        await self.stop()
        self.start(trusted_proxy=(ip_network("127.0.0.0/8"),))
        for headers, scheme in (
            ({"X_Forwarded_Proto": "https"}, "wss"),
            ({"X_Forwarded_Proto": "http, https"}, "wss"),
            ({"X_Forwarded_Proto": "https, http"}, "ws"),
            ({"Forwarded": "for=1.2.3.4;proto=https"}, "wss"),
            ({"Forwarded": 'for=1.2.3.4;proto=https, for="[::1]";proto=http'}, "ws"),
            ({"Forwarded": "proto=https", "X_Forwarded_Proto": "http"}, "ws"),
            ({}, "ws"),
        ):
            told = (await self.init(**headers)).json
            self.assertEqual(told["endpoint"].partition(":")[0], scheme, headers)


class ErrorTests(InitTestCase):
    async def test_malformed(self) -> None:
        for body in (
            b"",
            b"x",
            b"[]",
            b"{}",
            b'{"token":1}',
            b'{"token":null}',
            b"\xff",
            b"\0",
            b"[" * 10_000,
        ):
            answer = await self.http(body=body, Origin=ORIGIN)
            self.assert_answer(answer, 400, ORIGIN, "token")

    async def test_a_token_that_is_none(self) -> None:
        other = self.registry.create_flight(self.application.id, "Gone", ("localhost",))
        gone = self.signer.issue(other)
        self.registry.delete_flight(other.id)
        for token in ("x", "", self.token[:-2], gone, "\0", "\ud83d"):
            body = json.dumps({"token": token}).encode()
            status = 400 if token == "\ud83d" else 401
            self.assert_answer(await self.http(body=body, Origin=ORIGIN), status, ORIGIN, "oken")
            # Before the flight is known only pages that may log somewhere are told why.
            self.assert_answer(await self.http(body=body, Origin=ELSEWHERE), status, None)

    async def test_not_from_there(self) -> None:
        for origin in (ELSEWHERE, "null", None, "http://localhost.evil.example", "x", "file://", "\xff"):
            self.assert_answer(await self.init(Origin=origin), 403, None)
        self.assert_answer(await self.init(Origin="http://localhost" + "x" * 1000), 400, None, "too long")

    async def test_an_origin_that_another_flight_accepts(self) -> None:
        self.registry.create_flight(self.application.id, "Other", ("evil.example",))
        self.assert_answer(await self.init(Origin=ELSEWHERE), 403, None, "domains")
        self.assert_answer(await self.init("x", Origin=ELSEWHERE), 401, ELSEWHERE)

    async def test_an_inactive_flight(self) -> None:
        self.registry.set_active(self.flight.id, False)
        self.assert_answer(await self.init(), 403, ORIGIN, "not active")
        self.assert_answer(await self.init("x"), 401, None)
        self.assert_answer(await self.init(Origin=ELSEWHERE), 403, None, "domains")

    async def test_other_methods(self) -> None:
        for method in ("GET", "PUT", "DELETE", "PATCH", "X"):
            answer = await self.http(method, Origin=ORIGIN)
            self.assert_answer(answer, 405, ORIGIN, "POST")
            self.assertEqual(answer.headers["Allow"], "POST, OPTIONS")
        self.assertEqual((await self.http("HEAD", Origin=ORIGIN)).body, b"")

    async def test_headers_are_not_injected(self) -> None:
        """As far as a client can write them: what would end a line ends the header for the server too."""

        def ask(head: bytes) -> bytes:
            body = json.dumps({"token": self.token}).encode()
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=30)) as connection:
                length = b"Content-Length: %d\r\nConnection: close\r\n" % len(body)
                connection.sendall(b"POST /kraken/init HTTP/1.1\r\n" + head + length + b"\r\n" + body)
                answer = b""
                while piece := connection.recv(65_536):
                    answer += piece
                return answer.lower()

        for head in (
            b"Host: x\r\nOrigin: http://localhost\rX-Evil: 1\r\n",
            b"Host: x\r\nOrigin: http://localhost\r\n X-Evil: 1\r\n",
            b"Host: x\r\nOrigin: http://localhost\x00X-Evil: 1\r\n",
            b"Host: x\rX-Evil: 1\r\nOrigin: http://localhost\r\n",
            b'Host: x"},"X-Evil": {"\r\nOrigin: http://localhost\r\n',
        ):
            answer = await deferToThread(ask, head)
            self.assertFalse(answer.startswith(b"http/1.1 200"), answer)
            self.assertNotIn(b"\nx-evil", answer)
        self.assertEqual(self.flushLoggedErrors(), [])


class TroubleTests(InitTestCase):
    async def test_a_store_that_fails(self) -> None:
        def fail_to_keep(*_args: Any) -> None:
            raise ZeroDivisionError

        self.patch(type(self.service._parts.store), "keep_ticket", fail_to_keep)
        answer = await self.init()
        self.assertEqual((answer.status, answer.headers[CORS]), (503, ORIGIN))
        self.assertIn("at the moment", answer.json["error"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_registry_that_does_not_answer(self) -> None:
        def fail_to_find(*_args: Any) -> None:
            raise RegistryError("away")

        self.patch(Registry, "get_flight", fail_to_find)
        self.patch(Registry, "active_domains", fail_to_find)
        self.assert_answer(await self.init(), 503, None, "at the moment")
        self.assert_answer(await self.init("x"), 401, None)
        self.assert_answer(await self.http("OPTIONS", Origin=ORIGIN), 403, None)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_server_that_stops(self) -> None:
        self.service._stopping = True
        self.assert_answer(await self.init(), 503, ORIGIN, "shutting down")
        self.service._stopping = False

    async def test_other_paths(self) -> None:
        for path, status in (
            ("/kraken/init/", 405),
            ("/kraken/init/x", 404),
            ("/kraken", 404),
            ("/kraken/", 404),
        ):
            self.assertEqual((await self.http("GET", path=path)).status, status, path)
        self.assertEqual((await self.http("GET", path="/kraken/socket")).status, 426)


class SizeTests(InitTestCase):
    async def test_too_large(self) -> None:
        body = json.dumps({"token": self.token, "x": "x" * 20_000}).encode()
        self.assert_answer(await self.http(body=body, Origin=ORIGIN), 413, ORIGIN, "16384")
        self.assert_answer(await self.http(body=body, Origin=ELSEWHERE), 413, None)
        self.assert_answer(await self.http(body=body), 413, None)

    async def test_an_option(self) -> None:
        await self.restart(max_init_size=len(self.token) + 20)
        self.assert_answer(await self.init(), 200, ORIGIN)
        await self.restart(max_init_size=len(self.token))
        self.assert_answer(await self.init(), 413, ORIGIN)

    async def test_a_body_without_end(self) -> None:
        def ask() -> bytes:
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=30)) as connection:
                head = (
                    f"POST /kraken/init HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\nTransfer-Encoding: chunked"
                )
                piece = b"1000\r\n" + b"x" * 4096 + b"\r\n"
                connection.sendall(head.encode() + b"\r\n\r\n" + piece * 5)
                answer = connection.recv(65_536)
                try:
                    while True:
                        connection.sendall(piece)
                except ConnectionError:
                    return answer

        self.patch(site, "LINGER", 0.2)
        answer = (await deferToThread(ask)).decode()
        self.assertTrue(answer.startswith("HTTP/1.1 413 "), answer)
        self.assertIn(f"Access-Control-Allow-Origin: {ORIGIN}".lower(), answer.lower())
        self.assertEqual(json.loads(answer.partition("\r\n\r\n")[2])["error"][:8], "The body")


class RateTests(InitTestCase):
    async def test_too_many(self) -> None:
        await self.restart(init_rate=2)
        for _ in range(2):
            self.assert_answer(await self.init("x"), 401, ORIGIN)
        self.assertEqual((await self.http("OPTIONS", Origin=ORIGIN)).status, 204)
        answer = await self.init()
        self.assert_answer(answer, 429, ORIGIN, "too many")
        self.assertIn(int(answer.headers["Retry-After"]), range(1, 61))

    async def test_addresses_are_those_of_clients(self) -> None:
        await self.stop()
        self.start(trusted_proxy=(ip_network("127.0.0.0/8"),), limits=self.limited(init_rate=1))
        for address, status in (("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.1", 429)):
            self.assertEqual((await self.init(X_Forwarded_For=address)).status, status)

    async def test_any_number(self) -> None:
        await self.restart(init_rate=0)
        for _ in range(3):
            self.assertEqual((await self.init()).status, 200)


class PreflightTests(InitTestCase):
    async def preflight(self, origin: str | None) -> Answer:
        asked: dict[str, Any] = {
            "Access_Control_Request_Method": "POST",
            "Access_Control_Request_Headers": "content-type",
        }
        return await self.http("OPTIONS", Origin=origin, **asked)

    async def test_allowed(self) -> None:
        self.registry.create_flight(self.application.id, "Other", ("*.lab.example",))
        for origin in (ORIGIN, "https://localhost", "https://a.lab.example"):
            answer = await self.preflight(origin)
            self.assert_answer(answer, 204, origin)
            self.assertEqual(answer.headers["Access-Control-Allow-Methods"], "POST")
            self.assertEqual(answer.headers["Access-Control-Allow-Headers"], "Content-Type")

    async def test_refused(self) -> None:
        for origin in (ELSEWHERE, "null", None, "https://lab.example"):
            answer = await self.preflight(origin)
            self.assert_answer(answer, 403, None, "origin")
            self.assertIsNone(answer.headers["Access-Control-Allow-Methods"])
        self.registry.set_active(self.flight.id, False)
        await self.restart()
        self.assert_answer(await self.preflight(ORIGIN), 403, None)


class AnyDomainTests(InitTestCase):
    domains = ("*",)

    async def test_anybody(self) -> None:
        for origin in ("null", None, ELSEWHERE, "capacitor://localhost"):
            self.assert_answer(await self.init(Origin=origin), 200, origin)
            self.assert_answer(await self.init("x", Origin=origin), 401, origin)


class CookieTests(InitTestCase):
    domains = ("*",)

    async def attributes(self, **headers: str | None) -> set[str]:
        answer = await self.init(**headers)
        name, _, rest = answer.headers["Set-Cookie"].partition("=")
        self.assertEqual(name, "kraken_visitor")
        found = {attribute.strip() for attribute in rest.split(";")[1:]}
        self.assertLessEqual({"HttpOnly", "Max-Age=31536000", "Path=/kraken"}, found)
        return found - {"HttpOnly", "Max-Age=31536000", "Path=/kraken"}

    async def test_attributes(self) -> None:
        await self.stop()
        self.start(trusted_proxy=(ip_network("127.0.0.0/8"),))
        https = {"X_Forwarded_Proto": "https"}
        lax, secure, cross = (
            {"SameSite=Lax"},
            {"SameSite=Lax", "Secure"},
            {"SameSite=None", "Secure", "Partitioned"},
        )
        for origin, host, more, expected in (
            ("http://localhost:3000", "localhost:8081", {}, lax),
            ("http://shop.example.org", "logs.example.org:8081", {}, lax),
            ("https://shop.example.org", "logs.example.org", https, secure),
            ("http://shop.example.org", "logs.example.org", https, cross),
            ("https://shop.example.org", "logs.example.org", {}, cross),
            ("https://shop.example.net", "logs.example.org", https, cross),
            ("https://a.github.io", "b.github.io", https, cross),
            ("http://127.0.0.1:3000", "127.0.0.1", {}, lax),
            ("http://127.0.0.1", "localhost", {}, cross),
            ("http://10.0.0.1", "11.0.0.1", {}, cross),
            ("http://[::1]:1", "[::1]:2", {}, lax),
            ("null", "localhost", {}, cross),
            (None, "localhost", {}, lax),
            ("https://a.example.net", "logs.example.org", {**https, "Sec_Fetch_Site": "same-site"}, secure),
            ("http://localhost", "localhost", {"Sec_Fetch_Site": "cross-site"}, cross),
            ("http://localhost", "localhost", {"Sec_Fetch_Site": "none"}, lax),
        ):
            found = await self.attributes(Origin=origin, Host=host, **more)
            self.assertEqual(found, expected, (origin, host, more))

    async def test_kept(self) -> None:
        first = await self.init()
        again = await self.init(Cookie=f"a=b; {first.cookie}; c=d")
        self.assertIsNone(again.headers["Set-Cookie"])

    async def test_each_visitor_has_its_own(self) -> None:
        self.assertEqual(len({(await self.init()).cookie for _ in range(5)}), 5)

    async def test_tampered_with(self) -> None:
        name, _, value = (await self.init()).cookie.partition("=")
        visitor, _, signature = value.partition(".")
        ticket = (await self.init()).json["ticket"]
        for wrong in (
            "",
            "x",
            visitor,
            f"{visitor[:-1]}A.{signature}",
            f"{visitor}.{signature[:-1]}",
            ticket,
            self.token,
        ):
            self.assertNotEqual((await self.init(Cookie=f"{name}={wrong}")).cookie, "", wrong)

    async def test_the_keys_rotate(self) -> None:
        cookie = (await self.init()).cookie
        SigningKeys(self.data_dir).rotate()
        await self.restart()
        self.assertIsNone((await self.init(Cookie=cookie)).headers["Set-Cookie"])
