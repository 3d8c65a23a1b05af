"""Of one site or not, as browsers see it."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.web.same_site import is_same_site


class SameSiteTests(SynchronousTestCase):
    def test_by_origin_and_host(self) -> None:
        for origin, scheme, host, same in (
            ("https://shop.example.org", "https", "logs.example.org:8443", True),
            ("https://example.org", "https", "a.b.example.org", True),
            ("HTTPS://Shop.Example.ORG.", "https", "logs.example.org", True),
            ("https://shop.example.org:444", "https", "shop.example.org", True),
            ("http://shop.example.org", "https", "shop.example.org", False),
            ("https://example.org", "https", "example.net", False),
            ("https://notexample.org", "https", "example.org", False),
            ("https://a.co.uk", "https", "b.co.uk", False),
            ("https://x.a.co.uk", "https", "y.a.co.uk", True),
            ("https://a.github.io", "https", "b.github.io", False),
            ("https://x.xn--bcher-kva.example", "https", "y.xn--bcher-kva.example", True),
            ("http://localhost:3000", "http", "localhost:8081", True),
            ("http://localhost", "http", "127.0.0.1", False),
            ("http://a.localhost", "http", "b.localhost", False),
            ("http://127.0.0.1:1", "http", "127.0.0.1:2", True),
            ("http://10.0.0.1", "http", "11.0.0.1", False),
            ("http://[::1]:3000", "http", "[::1]", True),
            ("http://[::1]", "http", "[::2]", False),
            ("null", "http", "localhost", False),
            ("file://", "http", "localhost", False),
            ("http://[", "http", "localhost", False),
            ("", "http", "", False),
        ):
            self.assertIs(is_same_site(origin, None, scheme, host), same, (origin, scheme, host))

    def test_the_browsers_word_goes_first(self) -> None:
        for word, same in (("same-origin", True), ("same-site", True), ("cross-site", False)):
            for origin in ("https://example.org", "https://example.net", "null"):
                self.assertIs(is_same_site(origin, word, "https", "example.org"), same)
        for word in ("none", "x", ""):
            self.assertIs(is_same_site("https://example.org", word, "https", "example.org"), True)
            self.assertIs(is_same_site("https://example.net", word, "https", "example.org"), False)

    def test_no_page(self) -> None:
        self.assertIs(is_same_site(None, None, "http", "localhost"), True)

    @given(st.text(), st.none() | st.text(), st.text())
    def test_anything(self, origin: str, word: str | None, host: str) -> None:
        is_same_site(origin, word, "https", host)
        is_same_site(f"https://{origin}", word, "https", host)
