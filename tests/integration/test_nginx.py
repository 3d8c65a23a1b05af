"""Behind nginx, as etc/nginx and docs/moving-from-logui-server.md have it."""

from __future__ import annotations

import http.client
import re
import ssl
from contextlib import closing
from ipaddress import IPv4Network
from pathlib import Path

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from logui_tx.web.client import UpgradeRefused, connect
from logui_tx.web.site import client_file
from tests.integration.logui05 import ORIGIN, PATH, LogUI05TestCase
from tests.integration.nginx import Nginx
from tests.integration.redis import free_port
from tests.integration.served import Client
from tests.integration.test_kraken_tls import make_certificate, trust
from tests.logui05 import ITEM, events

ROOT = Path(__file__).parents[2]
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Origin": ORIGIN,
}


class NginxTestCase(LogUI05TestCase):
    """``self.nginx`` stands before the server, which keeps its port when it is started again."""

    async def setUp(self) -> None:
        super().setUp()
        await self.stop()
        self.certificate = self.data_dir / "localhost.pem"
        make_certificate(self.certificate)
        self.listen = (f"tcp:{free_port()}:interface=127.0.0.1",)
        self.restart()
        trust(self, self.certificate)

    def restart(self) -> None:
        self.start(listen=self.listen, trusted_proxy=(IPv4Network("127.0.0.1"),))

    def before(self, configuration: str, host: str, **more: str) -> None:
        """Let nginx run the ``configuration``, whose names are those of an example."""
        changes = {
            "127.0.0.1:8081": f"127.0.0.1:{self.port}",
            "listen 443 ssl": "listen 127.0.0.1:PORT ssl",
            f"/etc/ssl/certs/{host}.pem": str(self.certificate),
            f"/etc/ssl/private/{host}.key": str(self.certificate),
        }
        self.nginx = Nginx(configuration, {**changes, **more})
        self.addCleanup(self.nginx.close)

    async def open(self, **more: str) -> Client:
        socket = await connect(reactor, f"wss://127.0.0.1:{self.nginx.port}{PATH}", origin=ORIGIN, **more)
        self.addCleanup(lambda: (socket.abort(), socket.closed)[1])
        return Client(socket)

    async def ask(self, path: str, source: str = "127.0.0.1", **headers: str) -> tuple[int, bytes]:
        """The status of the answer, and its first bytes."""

        def ask() -> tuple[int, bytes]:
            trusting = ssl.create_default_context(cafile=str(self.certificate))
            trusting.check_hostname = False
            address = "127.0.0.1", self.nginx.port
            line = http.client.HTTPSConnection(*address, context=trusting, source_address=(source, 0))
            with closing(line):
                line.request("GET", path, headers=headers)
                answer = line.getresponse()
                return answer.status, b"" if answer.status == 101 else answer.read(100)

        found: tuple[int, bytes] = await deferToThread(ask)
        return found


class ShippedTests(NginxTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.before((ROOT / "etc/nginx/logui.conf").read_text(encoding="utf-8"), "logs.example.org")

    async def test_a_server_that_stops_and_one_that_comes(self) -> None:
        client = await self.shake_hands(await self.open())
        client.say(events(ITEM))
        await self.until(lambda: self.service._parts.intake.stored_events == 1)
        await self.stop()
        self.assertEqual((await client.end()).code, 1006)
        refused = await self.assertFailure(Deferred.fromCoroutine(self.open()), UpgradeRefused)
        self.assertEqual(refused.status, 502)
        self.restart()
        again = await self.shake_hands(await self.open(), sessionID=client.session)
        self.assertEqual(again.session, client.session)
        self.assertFalse(again.welcome["payload"]["newSessionCreated"])
        again.say(events(ITEM))
        await self.go(again)
        self.assertEqual((await self.ended(client.session)).events, 2)

    async def test_a_full_server(self) -> None:
        await self.stop()
        self.limits = evolve(self.limits, max_connections=1)
        self.restart()
        await self.shake_hands(await self.open())
        self.assertEqual((await self.ask(PATH, **UPGRADE))[0], 503)

    async def test_each_address_counts_for_itself_whatever_it_says(self) -> None:
        await self.stop()
        self.limits = evolve(self.limits, max_connections_per_address=1)
        self.restart()
        await self.shake_hands(await self.open())
        told = {**UPGRADE, "X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
        self.assertEqual((await self.ask(PATH, **told))[0], 429)
        self.assertEqual((await self.ask(PATH, source="127.0.0.2", **UPGRADE))[0], 101)

    async def test_pages(self) -> None:
        self.assertEqual((await self.ask("/healthz"))[0], 200)
        status, text = await self.ask("/client/logui.js")
        self.assertEqual((status, text), (200, client_file("logui.js")[: len(text)]))


class MovingTests(NginxTestCase):
    async def test_the_old_server_keeps_its_pages(self) -> None:
        docs = (ROOT / "docs/moving-from-logui-server.md").read_text(encoding="utf-8")
        (configuration,) = re.findall("```nginx\n(.*?)```", docs, re.DOTALL)
        # Whatever answers with a page of its own.
        old = Nginx('server { listen 127.0.0.1:PORT; return 200 "old"; }', {"PORT": "PORT"})
        self.addCleanup(old.close)
        self.before(configuration, "logui.example.org", **{"127.0.0.1:8000": f"127.0.0.1:{old.port}"})
        self.assertEqual(await self.ask("/"), (200, b"old"))
        client = await self.shake_hands(await self.open())
        client.say(events(ITEM))
        await self.until(lambda: self.service._parts.intake.stored_events == 1)
        self.assertEqual(self.session(client.session).events, 1)
