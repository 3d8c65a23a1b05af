"""The visitor's cookie; integration/test_kraken_init.py has its attributes for each kind of page."""

from typing import Any
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from logui_tx.registry.signing import Signature
from logui_tx.web.visitors import NAME, Visitors


class FakeRequest:
    def __init__(self, cookie: str | None = None) -> None:
        self.cookie = None if cookie is None else cookie.encode()
        self.responseHeaders = Headers()

    def getCookie(self, name: bytes) -> bytes | None:
        assert name == NAME
        return self.cookie

    @property
    def set_cookie(self) -> str:
        """The value that was set."""
        found = self.responseHeaders.getRawHeaders("set-cookie", [""])[0]
        return found.partition(";")[0].partition("=")[2]


class VisitorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keys: tuple[str, ...] = ("key",)
        self.visitors = Visitors(lambda: self.keys)

    def welcome(self, cookie: str | None = None) -> tuple[str, str]:
        """The visitor, and the cookie that was set."""
        request: Any = FakeRequest(cookie)
        return self.visitors.welcome(request, same_site=True, secure=False), request.set_cookie

    def known(self, cookie: str | None) -> str | None:
        request: Any = FakeRequest(cookie)
        return self.visitors.known(request)

    def test_a_new_one(self) -> None:
        visitor, cookie = self.welcome()
        self.assertEqual(str(UUID(visitor)), visitor)
        self.assertEqual(self.known(cookie), visitor)
        self.assertNotEqual(self.welcome()[0], visitor)

    def test_a_known_one(self) -> None:
        visitor, cookie = self.welcome()
        self.assertEqual(self.welcome(cookie), (visitor, ""))
        self.keys = ("new", "key")
        self.assertEqual(self.welcome(cookie), (visitor, ""))

    def test_one_that_cannot_be_believed(self) -> None:
        visitor, cookie = self.welcome()
        other = Signature(lambda: self.keys, b"logui-tx.kraken-ticket").sign("visitor")
        ours = Signature(lambda: self.keys, b"logui-tx.kraken-visitor").sign(["visitor"])
        for wrong in ("", "\u00fc", visitor, cookie[:-1], "A" + cookie, other, ours, "x" * 100_000):
            self.assertIsNone(self.known(wrong))
            self.assertNotIn(self.welcome(wrong)[1], ("", cookie))
        self.keys = ("other",)
        self.assertIsNone(self.known(cookie))
        self.assertIsNone(self.known(None))
