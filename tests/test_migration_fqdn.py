"""From where a flight of a released server could be logged, in our words."""

from urllib.parse import urlparse

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.migration.fqdn import NOBODY, domain_of
from logui_tx.registry.domains import allows, parse_domain


def let_in(fqdn: str, origin: str) -> bool:
    """The released server's rule."""
    return urlparse(fqdn).netloc == "localhost" or fqdn == urlparse(origin).netloc


hosts = st.sampled_from(["localhost", "www.example.org", "example.org", "127.0.0.1", "[::1]", "a-b.example"])
ports = st.sampled_from(["", ":80", ":443", ":8080"])
places = st.builds("".join, st.tuples(hosts, ports))


class DomainTests(SynchronousTestCase):
    def test_what_it_becomes(self) -> None:
        for fqdn, domain in [
            ("www.example.org", "www.example.org"),
            ("www.example.org:8080", "www.example.org:8080"),
            ("localhost", "localhost"),
            ("localhost:8000", "localhost:8000"),
            ("http://localhost", "*"),
            ("https://localhost/study/", "*"),
            ("//localhost", "*"),
            ("http://localhost:8000/", "localhost:8000"),
            ("https://www.example.org/study?x=1", "www.example.org"),
            ("http://user@www.example.org", "www.example.org"),
            ("www.example.org/", "www.example.org"),
            ("WWW.Example.org", "www.example.org"),
            ("*", NOBODY),
            ("*.example.org", NOBODY),
            ("http://[", NOBODY),
            ("my study", NOBODY),
            ("", NOBODY),
            (None, NOBODY),
        ]:
            found = domain_of(fqdn)
            self.assertEqual(found.domain, domain, fqdn)
            self.assertEqual(found.note is None, fqdn is not None and fqdn.lower() == domain, fqdn)

    @given(places, st.sampled_from(["", "http://", "https://"]), places, st.sampled_from(["http", "https"]))
    def test_who_could_log_still_can(self, fqdn: str, scheme: str, place: str, page: str) -> None:
        origin = f"{page}://{place}"
        if let_in(scheme + fqdn, origin):
            self.assertTrue(allows((domain_of(scheme + fqdn).domain,), origin, None), (fqdn, origin))

    @given(st.text(max_size=60))
    def test_whatever_it_is(self, fqdn: str) -> None:
        """A domain that our registry takes; any page only where the other server took any."""
        found = domain_of(fqdn)
        self.assertEqual(parse_domain(found.domain), found.domain)
        self.assertNotEqual(found.domain, "*")
        (found.note or "").encode("ascii")
