"""From where a flight may be logged: entries, the Origin header and declared domains."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import InvalidDomain
from logui_tx.registry.domains import agrees, allows, parse_domain

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)
ports = st.integers(1, 65535)
schemes = st.sampled_from(["http", "https"])
anything = st.one_of(
    st.text(),
    st.text(alphabet="ahtps:/[]@#?%.*\\ 0123456789\u00fc-"),
    st.builds("{}://{}".format, schemes, st.text(max_size=20)),
)


class ParseDomainTests(SynchronousTestCase):
    def test_normal_forms(self) -> None:
        for text, expected in [
            ("example.org", "example.org"),
            (" Example.ORG. ", "example.org"),
            ("localhost:8080", "localhost:8080"),
            ("127.0.0.1", "127.0.0.1"),
            ("*.Example.org", "*.example.org"),
            ("*.example.org:8443", "*.example.org:8443"),
            ("*", "*"),
            ("b\u00fccher.example", "xn--bcher-kva.example"),
            ("[0:0::1]:81", "[::1]:81"),
            ("my_host", "my_host"),
        ]:
            self.assertEqual(parse_domain(text), expected)

    def test_refused(self) -> None:
        for text in [
            "",
            "*.",
            "*.*",
            "**",
            "a..b",
            "exa mple.org",
            "example.org:0",
            "example.org:65536",
            "example.org:x",
            "user@example.org",
            "https://example.org",
            "example.org/",
            "example.org/path",
            "::1",
            "[::g]",
            "300.1.1.1",
            "*.0.0.1",
            "*.[::1]",
            "*:8080",
            "*example.org",
            "a.*.org",
            "x" * 64 + ".org",
            "a." * 150 + "org",
            "[fe80::1%25eth0]",
            "ex\x00ample",
            "\u2615.example",
        ]:
            with self.assertRaises(InvalidDomain, msg=text):
                parse_domain(text)

    def test_a_whole_origin_is_answered_with_what_to_write(self) -> None:
        error = self.assertRaises(InvalidDomain, parse_domain, "https://Example.org:8443/")
        self.assertIn("write example.org:8443", str(error))

    def test_the_error_is_short_and_escaped(self) -> None:
        error = self.assertRaises(InvalidDomain, parse_domain, "\x1b[31m\u202e" + "x" * 10_000)
        self.assertTrue(str(error).isprintable() and str(error).isascii())
        self.assertLess(len(str(error)), 300)

    @given(anything)
    def test_reads_or_refuses_and_is_stable(self, text: str) -> None:
        try:
            entry = parse_domain(text)
        except InvalidDomain:
            return
        self.assertEqual(parse_domain(entry), entry)
        self.assertTrue(entry.isascii())


class OriginTests(SynchronousTestCase):
    def accepted(self, domain: str, origin: str | None, declared: str | None = None) -> bool:
        return allows([domain], origin, declared)

    def test_host(self) -> None:
        for origin in [
            "http://example.org",
            "https://EXAMPLE.org",
            "https://example.org.",
            "http://example.org:81",
        ]:
            self.assertTrue(self.accepted("example.org", origin), origin)
        for origin in [
            "http://www.example.org",
            "http://example.org.evil",
            "http://notexample.org",
            "http://org",
        ]:
            self.assertFalse(self.accepted("example.org", origin), origin)

    def test_port(self) -> None:
        self.assertTrue(self.accepted("example.org:443", "https://example.org"))
        self.assertTrue(self.accepted("example.org:80", "http://example.org"))
        self.assertTrue(self.accepted("example.org:8080", "http://example.org:8080"))
        self.assertFalse(self.accepted("example.org:443", "http://example.org"))
        self.assertFalse(self.accepted("example.org:8080", "http://example.org"))
        self.assertFalse(self.accepted("example.org:80", "app://example.org"))
        self.assertTrue(self.accepted("example.org", "app://example.org"))

    def test_wildcard(self) -> None:
        self.assertTrue(self.accepted("*.example.org", "http://a.example.org"))
        self.assertTrue(self.accepted("*.Example.org", "http://c.b.A.example.org:99"))
        self.assertFalse(self.accepted("*.example.org", "http://example.org"))
        self.assertFalse(self.accepted("*.example.org", "http://badexample.org"))
        self.assertFalse(self.accepted("*.example.org:81", "http://a.example.org"))

    def test_one_of_many(self) -> None:
        self.assertTrue(allows(["a.org", "b.org"], "http://b.org", None))
        self.assertFalse(allows([], "http://b.org", None))

    def test_idna_and_ipv6(self) -> None:
        self.assertTrue(self.accepted("b\u00fccher.example", "http://xn--bcher-kva.example"))
        self.assertTrue(self.accepted("xn--bcher-kva.example", "http://B\u00dcCHER.example"))
        self.assertTrue(self.accepted("[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080"))
        self.assertFalse(self.accepted("[::1]", "http://[::2]"))

    def test_the_origin_counts_not_what_is_declared(self) -> None:
        self.assertFalse(self.accepted("example.org", "http://evil.org", "example.org"))
        self.assertFalse(self.accepted("example.org", "http://example.org", "evil.org"))
        self.assertFalse(self.accepted("*", "http://example.org", "evil.org"))
        self.assertFalse(self.accepted("*", "http://example.org", "no/domain"))
        self.assertTrue(self.accepted("*", "http://example.org", None))

    def test_declared_forms_that_agree(self) -> None:
        origin = "https://example.org:8443"
        for declared in [
            "example.org",
            "EXAMPLE.org:8443",
            "https://example.org:8443",
            "https://example.org",
        ]:
            self.assertTrue(agrees(origin, declared), declared)
            self.assertTrue(self.accepted("example.org:8443", origin, declared), declared)
        for declared in ["example.org:443", "https://example.org:1", "www.example.org"]:
            self.assertFalse(agrees(origin, declared), declared)
        self.assertTrue(agrees("https://example.org", "example.org:443"))

    def test_without_origin_the_declared_domain_is_checked(self) -> None:
        self.assertTrue(self.accepted("example.org", None, "example.org:81"))
        self.assertTrue(self.accepted("example.org:8080", None, "example.org"))
        self.assertTrue(self.accepted("example.org:8080", None, "http://example.org:8080"))
        self.assertFalse(self.accepted("example.org:8080", None, "example.org:81"))
        self.assertFalse(self.accepted("example.org", None, "evil.org"))

    def test_only_any_accepts_who_tells_nothing(self) -> None:
        for origin, declared in [
            (None, None),
            (None, ""),
            ("null", None),
            ("null", "null"),
            ("null", "example.org"),
            ("null", "\x00"),
            ("file://", "x.org"),
        ]:
            self.assertTrue(self.accepted("*", origin, declared), (origin, declared))
            self.assertFalse(allows(["example.org", "*.org", "null"], origin, declared), (origin, declared))

    def test_look_alikes(self) -> None:
        for origin in [
            "http://evil.org#@example.org",
            "http://evil.org\\@example.org",
            "http://example.org@evil.org",
            "http://example.org/x",
            "http://example.org http://evil.org",
            "http://example.org\n",
            "//example.org",
            "http://example.org:080808",
            "http://example.org:",
            "http://",
            "",
            " ",
        ]:
            self.assertFalse(self.accepted("example.org", origin), origin)

    @given(hosts, ports, schemes)
    def test_a_page_may_log_to_its_own_host(self, host: str, port: int, scheme: str) -> None:
        origin = f"{scheme}://{host}:{port}"
        self.assertTrue(allows([host], origin, None))
        self.assertTrue(allows([f"{host}:{port}"], origin.upper(), host.title()))
        self.assertFalse(allows([f"{host}:{port % 65535 + 1}"], origin, None))
        self.assertFalse(allows([f"x{host}"], origin, None))

    @given(hosts, hosts)
    def test_a_wildcard_takes_what_is_below_only(self, above: str, below: str) -> None:
        self.assertTrue(allows([f"*.{above}"], f"https://{below}.{above}", None))
        self.assertFalse(allows([f"*.{above}"], f"https://{above}", None))
        self.assertFalse(allows([f"*.{above}"], f"https://{below}{above}"[:-1] + "-", None))

    @given(st.lists(anything, max_size=3), st.none() | anything, st.none() | anything)
    def test_garbage_never_raises(self, domains: list[str], origin: str | None, declared: str | None) -> None:
        self.assertIsInstance(allows(domains, origin, declared), bool)

    @given(anything)
    def test_a_readable_origin_is_never_overruled(self, declared: str) -> None:
        self.assertFalse(allows(["example.org"], "https://evil.test", declared))
