"""Whose address counts: forwarded ones only from a trusted proxy, read from the end that it wrote."""

import ipaddress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.options import network
from logui_tx.web.address import client_address, forwarded_scheme

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PROXY, CLIENT, OTHER = "10.0.0.1", "203.0.113.7", "198.51.100.9"
TRUSTED = [network("10.0.0.0/8"), network("::1"), network("2001:db8::/32")]
addresses = st.ip_addresses().map(str)


class ClientAddressTests(SynchronousTestCase):
    def address(
        self,
        *x_forwarded_for: str,
        forwarded: tuple[str, ...] = (),
        peer: str = PROXY,
        trusted: list = TRUSTED,
    ) -> str:
        return client_address(peer, forwarded, x_forwarded_for, trusted)

    def test_nobody_is_trusted(self) -> None:
        self.assertEqual(self.address(CLIENT, trusted=[]), PROXY)
        self.assertEqual(self.address(forwarded=(f"for={CLIENT}",), trusted=[]), PROXY)

    def test_a_client_cannot_forward_itself(self) -> None:
        self.assertEqual(self.address(OTHER, forwarded=(f"for={OTHER}",), peer=CLIENT), CLIENT)

    def test_x_forwarded_for(self) -> None:
        for headers, expected in [
            ((), PROXY),
            ((CLIENT,), CLIENT),
            ((f" {CLIENT} ",), CLIENT),
            ((f"{OTHER}, {CLIENT}",), CLIENT),
            ((f"{OTHER}, {CLIENT}, 10.0.0.2",), CLIENT),
            ((OTHER, CLIENT), CLIENT),
            ((f"{CLIENT}, 10.0.0.3", "10.0.0.2"), CLIENT),
            (("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
            ((f"{CLIENT}:4711",), CLIENT),
            (("[2001:DB9::0:1]:4711",), "2001:db9::1"),
            (("2001:db9::1",), "2001:db9::1"),
        ]:
            self.assertEqual(self.address(*headers), expected, headers)

    def test_ipv4_in_ipv6_is_one_address(self) -> None:
        self.assertEqual(self.address(peer=f"::ffff:{CLIENT}", trusted=[]), CLIENT)
        self.assertEqual(self.address(CLIENT, peer="::ffff:10.0.0.1"), CLIENT)

    def test_forwarded(self) -> None:
        for headers, expected in [
            ((f"for={CLIENT}",), CLIENT),
            ((f"For={CLIENT};proto=https;by=10.0.0.1",), CLIENT),
            ((f"proto=https;host=x;FOR = {CLIENT}",), CLIENT),
            ((f'for="{CLIENT}:4711"',), CLIENT),
            (('for="[2001:db9::1]:4711"',), "2001:db9::1"),
            (('for="[2001:db9::1]"',), "2001:db9::1"),
            ((f"for={OTHER}, for={CLIENT}",), CLIENT),
            ((f"for={OTHER},for={CLIENT};by=x,for=10.0.0.2",), CLIENT),
            ((f"for={OTHER}", f"for={CLIENT}"), CLIENT),
            (("proto=https",), PROXY),
            ((f"before={CLIENT}",), PROXY),
        ]:
            self.assertEqual(self.address(forwarded=headers), expected, headers)

    def test_x_forwarded_for_goes_before(self) -> None:
        self.assertEqual(self.address(CLIENT, forwarded=(f"for={OTHER}",)), CLIENT)

    def test_what_is_no_address_ends_the_search(self) -> None:
        """The last address that can be believed counts: that of the proxy that wrote it."""
        for hop in ["unknown", "_hidden", "", "x:1", "1.2.3", "1.2.3.4.5", "[::g]", "[", "256.0.0.1", "1:2"]:
            self.assertEqual(self.address(f"{CLIENT}, {hop}, 10.0.0.2"), "10.0.0.2", hop)
            self.assertEqual(self.address(forwarded=(f'for={CLIENT}, for="{hop}"',)), PROXY, hop)

    def test_a_client_cannot_hide_the_proxys_word(self) -> None:
        """What the client wrote stands to the left, with quotes that do not end for example."""
        for hostile in [
            f"for={OTHER}",
            'for="',
            f'for={OTHER};by="',
            f'for={OTHER}, for="',
            '"',
            "for=",
            ",;=\\",
        ]:
            for ours in [f"for={CLIENT}", f'for="{CLIENT}"', f"for={CLIENT};proto=https"]:
                found = self.address(forwarded=(f"{hostile}, {ours}",))
                self.assertIn(found, (CLIENT, PROXY), hostile)

    def test_other_kinds_of_peers(self) -> None:
        self.assertEqual(self.address(CLIENT, peer="unix"), CLIENT)
        self.assertEqual(self.address(CLIENT, peer="::1"), CLIENT)
        self.assertEqual(self.address(CLIENT, peer="::ffff:10.0.0.1"), CLIENT)
        self.assertEqual(self.address(CLIENT, peer="::2"), "::2")
        self.assertEqual(self.address(CLIENT, peer="somewhere"), "somewhere")
        self.assertEqual(self.address(f"{CLIENT}, ::ffff:10.0.0.2"), CLIENT)

    @unhurried
    @given(
        st.lists(addresses, max_size=4),
        addresses,
        st.lists(st.sampled_from(["10.0.0.2", "2001:db8::2"]), max_size=3),
    )
    def test_the_rightmost_that_is_not_ours(self, left: list[str], client: str, ours: list[str]) -> None:
        if any(ipaddress.ip_address(client) in net for net in TRUSTED) or ":ffff:" in client:
            return
        hops = [*left, client, *ours]
        self.assertEqual(self.address(", ".join(hops)), client)
        quoted = [f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in hops]
        self.assertEqual(self.address(forwarded=(", ".join(quoted),)), client)

    @unhurried
    @given(
        st.lists(st.text() | st.text('for=";,:[]1.2 \\', max_size=20), max_size=3),
        st.lists(st.text() | st.text(":[]1.2, ", max_size=20), max_size=3),
    )
    def test_any_header_gives_an_address(self, forwarded: list[str], x_forwarded_for: list[str]) -> None:
        ipaddress.ip_address(client_address(PROXY, forwarded, x_forwarded_for, TRUSTED))


class ForwardedSchemeTests(SynchronousTestCase):
    def test_of_a_trusted_proxy(self) -> None:
        for forwarded, x_forwarded_proto, expected in [
            ((), (), None),
            ((), ("https",), "https"),
            ((), (" HTTPS ",), "https"),
            ((), ("https", "http"), "http"),
            ((), ("https, http",), "http"),
            (("for=1.2.3.4;proto=https",), (), "https"),
            (('for=1.2.3.4; Proto="HTTPS"',), (), "https"),
            (("proto=https, for=1.2.3.4",), (), None),
            (("proto=https", "proto=http"), (), "http"),
            (("proto=https",), ("http",), "http"),
            (("xproto=https",), (), None),
        ]:
            found = forwarded_scheme(PROXY, forwarded, x_forwarded_proto, TRUSTED)
            self.assertEqual(found, expected, (forwarded, x_forwarded_proto))

    def test_of_anybody_else(self) -> None:
        for peer, trusted in ((CLIENT, TRUSTED), (PROXY, []), ("unix", [])):
            self.assertIsNone(forwarded_scheme(peer, ("proto=https",), ("https",), trusted))
        self.assertEqual(forwarded_scheme("unix", (), ("https",), TRUSTED), "https")
