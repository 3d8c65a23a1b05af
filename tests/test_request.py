"""What a request says about its sender."""

from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from logui_tx.web.request import address_of, header, host_of, is_secure

TRUSTED = [ip_network("10.0.0.0/8")]


class FakeRequest:
    def __init__(
        self, peer: str | None = "10.0.0.1", secure: bool = False, **headers: bytes | list[bytes]
    ) -> None:
        self.requestHeaders = Headers()
        for name, value in headers.items():
            values = value if isinstance(value, list) else [value]
            self.requestHeaders.setRawHeaders(name.replace("_", "-").encode(), values)
        self.address = UNIXAddress("/x") if peer is None else IPv4Address("TCP", peer, 1)
        self.secure = secure

    def getHeader(self, name: bytes) -> bytes | None:
        return self.requestHeaders.getRawHeaders(name, [None])[-1]

    def getClientAddress(self) -> Any:
        return self.address

    def isSecure(self) -> bool:
        return self.secure


class RequestTests(SynchronousTestCase):
    def test_header(self) -> None:
        request: Any = FakeRequest(
            origin=b"https://a.example", referer=b"", x_y=b"\xff\xc3\xbc", z=[b"1", b"2"]
        )
        found = [header(request, name) for name in ("origin", "referer", "absent", "x-y", "z")]
        self.assertEqual(found, ["https://a.example", None, None, "\ufffd\u00fc", "2"])

    def test_address(self) -> None:
        for request, address in (
            (FakeRequest(), "10.0.0.1"),
            (FakeRequest(x_forwarded_for=b"192.0.2.1"), "192.0.2.1"),
            (FakeRequest(forwarded=b"for=192.0.2.1"), "192.0.2.1"),
            (FakeRequest("192.0.2.9", x_forwarded_for=b"192.0.2.1"), "192.0.2.9"),
            (FakeRequest(None, x_forwarded_for=b"192.0.2.1"), "192.0.2.1"),
            (FakeRequest(x_forwarded_for=b"\xff"), "10.0.0.1"),
        ):
            self.assertEqual(address_of(request, TRUSTED), address)  # type: ignore[arg-type]

    def test_secure(self) -> None:
        for request, secure in (
            (FakeRequest(), False),
            (FakeRequest(secure=True), True),
            (FakeRequest(x_forwarded_proto=b"https"), True),
            (FakeRequest(x_forwarded_proto=[b"http", b"HTTPS"]), True),
            (FakeRequest(x_forwarded_proto=b"https, http"), False),
            (FakeRequest(forwarded=b"for=1.2.3.4;proto=https"), True),
            (FakeRequest("192.0.2.9", x_forwarded_proto=b"https"), False),
            (FakeRequest(x_forwarded_proto=b"\xff"), False),
        ):
            self.assertIs(is_secure(request, TRUSTED), secure)  # type: ignore[arg-type]
        self.assertFalse(is_secure(FakeRequest(None, x_forwarded_proto=b"https"), []))  # type: ignore[arg-type]

    def test_host(self) -> None:
        for host in (
            "localhost",
            "a.example:8081",
            "127.0.0.1:1",
            "[::1]:8081",
            "[::1]",
            "a_b.example.",
            "x" * 200,
        ):
            request: Any = FakeRequest(host=host.upper().encode())
            self.assertEqual(host_of(request), host)
        for wrong in (
            b"",
            b"a b",
            b"a/b",
            b"user@a",
            b"a:b",
            b"a:123456",
            b'a"',
            b"a\\",
            b"a,b",
            b"\xff",
            b"\xc3\xbc.example",
            b"a..b",
            b".",
            b"[::1",
            b"x" * 300,
            b"a\0",
        ):
            request = FakeRequest(host=wrong)
            self.assertIsNone(host_of(request), wrong)
