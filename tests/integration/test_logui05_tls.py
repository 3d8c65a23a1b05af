"""LogUI 0.5 over TLS: hanging up is below it."""

from __future__ import annotations

from twisted.internet import reactor

from logui_tx.model import Limits
from logui_tx.web.client import connect
from tests.integration.logui05 import ORIGIN, LogUI05TestCase
from tests.integration.served import Client
from tests.integration.test_kraken_tls import make_certificate, trust
from tests.logui05 import ITEM, events


class TLSTests(LogUI05TestCase):
    limits = Limits(drain_timeout=3600)

    async def setUp(self) -> None:
        super().setUp()
        await self.stop()
        path = self.data_dir / "localhost.pem"
        make_certificate(path)
        self.start(listen=(f"ssl:0:interface=127.0.0.1:privateKey={path}",))
        trust(self, path)

    async def test_what_was_sent_before_the_client_noticed_is_stored(self) -> None:
        socket = await connect(reactor, f"wss://127.0.0.1:{self.port}/ws/endpoint/", origin=ORIGIN)
        self.addCleanup(lambda: (socket.abort(), socket.closed)[1])
        client = await self.shake_hands(Client(socket))
        client.say(events(ITEM))
        socket.pause_reading()
        stopped = self.service.stopService()
        client.say(events(ITEM, ITEM))
        await self.until(lambda: self.service._parts.intake.stored_events == 3)
        socket.resume_reading()
        self.assertEqual((await client.end()).code, 1006)
        await stopped
        session = self.session(client.session)
        self.assertEqual((session.events, session.end_reason), (3, "serverShutdown"))
