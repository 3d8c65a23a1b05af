"""PROTOCOL, *Common rules*, Origin: what the browser says counts, what the page says must agree."""

from __future__ import annotations

from typing import Any

from logui_tx.web.client import UpgradeRefused
from tests.integration.served import ServedTestCase


class OriginTestCase(ServedTestCase):
    async def answer(self, origin: str | None, domain: str | None, **headers: Any) -> str:
        """The status code of a handshake from this origin with this declared domain."""
        client = await self.connect(origin=origin, headers=headers)
        said = await client.ask(self.hello(domain=domain))
        if said["statusCode"] == "400":
            self.assertEqual((await client.end()).code, 1008)
        return said["statusCode"]

    async def assert_all(self, expected: str, *cases: tuple[str | None, str | None]) -> None:
        for origin, domain in cases:
            self.assertEqual(await self.answer(origin, domain), expected, (origin, domain))


class DomainsTests(OriginTestCase):
    domains = ("shop.example", "*.lab.example", "exact.example:8443")

    async def test_accepted(self) -> None:
        await self.assert_all(
            "200",
            ("https://shop.example", None),
            ("https://SHOP.example", None),
            ("http://shop.example:3000", None),
            ("https://shop.example", "shop.example"),
            ("https://shop.example", "Shop.Example"),
            ("https://shop.example", "https://shop.example"),
            ("https://shop.example", "shop.example:443"),
            ("https://a.b.lab.example", None),
            ("https://exact.example:8443", None),
            (None, "shop.example"),
            (None, "shop.example:99"),
            (None, "x.lab.example"),
            (None, "exact.example:8443"),
            (None, "exact.example"),
            (None, "https://shop.example"),
        )

    async def test_refused(self) -> None:
        await self.assert_all(
            "400",
            ("https://evil.example", None),
            ("https://evil.example", "shop.example"),
            ("https://shop.example", "evil.example"),
            ("https://shop.example", "shop.example:444"),
            ("https://shop.example.evil.example", None),
            ("https://notshop.example", None),
            ("https://lab.example", None),
            ("https://exact.example", None),
            ("https://exact.example:8444", None),
            ("null", None),
            ("null", "shop.example"),
            ("file://", "shop.example"),
            (None, None),
            (None, ""),
            (None, "lab.example"),
            (None, "exact.example:1"),
            (None, "evil.example"),
            (None, "*"),
        )
        self.assertEqual(self.sessions(), [])

    async def test_the_session_keeps_its_origin_and_agent(self) -> None:
        client = await self.connect(
            origin="https://shop.example", headers={"Referer": "https://shop.example/cart"}
        )
        session = (await client.ask(self.hello(domain=None)))["sessionIdentifier"]
        kept = self.session(session)
        self.assertEqual(
            (kept.origin, kept.user_agent, kept.referrer),
            ("https://shop.example", "logui-tx", "https://shop.example/cart"),
        )


class AnyDomainTests(OriginTestCase):
    domains = ("*",)

    async def test_any_accepts_all_but_a_contradiction(self) -> None:
        await self.assert_all(
            "200",
            ("https://anything.example", None),
            ("null", None),
            ("null", "x.example"),
            ("capacitor://localhost", None),
            (None, None),
            (None, "x.example"),
        )
        await self.assert_all("400", ("https://a.example", "b.example"))


class ForwardedTests(ServedTestCase):
    """Forwarded addresses count only from a trusted proxy: seen by the limit on connections per address."""

    async def connect_from(self, forwarded: str) -> int:
        try:
            await self.connect(headers={"X-Forwarded-For": forwarded})
        except UpgradeRefused as refused:
            return refused.status
        return 101

    async def restart_with(self, **settings: Any) -> None:
        from attrs import evolve

        await self.stop()
        limits = evolve(self.limits, max_connections_per_address=1)
        self.start(limits=limits, **settings)

    async def test_from_anybody_they_do_not_count(self) -> None:
        await self.restart_with()
        self.assertEqual(await self.connect_from("192.0.2.1"), 101)
        self.assertEqual(await self.connect_from("192.0.2.2"), 429)

    async def test_from_a_trusted_proxy_they_count(self) -> None:
        from ipaddress import ip_network

        await self.restart_with(trusted_proxy=(ip_network("127.0.0.0/8"),))
        self.assertEqual(await self.connect_from("192.0.2.1"), 101)
        self.assertEqual(await self.connect_from("192.0.2.2"), 101)
        self.assertEqual(await self.connect_from("192.0.2.1"), 429)
        # The part that a client wrote itself is to the left of what the proxy wrote.
        self.assertEqual(await self.connect_from("198.51.100.7, 192.0.2.2"), 429)
