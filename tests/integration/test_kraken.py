"""PROTOCOL, section 3: what is said on the socket, over real connections."""

from __future__ import annotations

from tests.integration.visitors import VisitedTestCase, move


class HappyTests(VisitedTestCase):
    async def test_a_visit(self) -> None:
        client = await self.visit()
        self.assertEqual(await client.ask(move(1)), {"type": "ack", "stored": 1})
        self.assertEqual(await client.ask([move(2), move(3)]), {"type": "ack", "stored": 3})
        client.say({"type": "close"})
        self.assertEqual((await client.end()).code, 1000)
        session = await self.ended(client.session)
        self.assertEqual((session.events, session.end_reason, session.dialect), (3, "closed", "kraken"))
        self.assertEqual(session.device, '{"os":"Macintosh","browser":"Chrome"}')
        self.assertEqual(session.referrer, "r")
