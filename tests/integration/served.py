"""A real server in the test's own process and reactor, on a free loopback port, and a client for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from logui_tx.dialects import BY_NAME
from logui_tx.journal.reader import JournalReader
from logui_tx.journal.schema import open_reader
from logui_tx.model import Flight, Limits, Session
from logui_tx.options import Settings
from logui_tx.registry.database import migrate, open_engine
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner
from logui_tx.service import LoguiService
from logui_tx.web.client import Closed, Socket, connect

PATH = "/logui/endpoint/0.4.0/"


class Client:
    """Speaks LogUI 0.4 in dicts."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.session = ""

    def say(self, message: Any) -> None:
        self.socket.send(message if isinstance(message, bytes) else json.dumps(message).encode())

    async def hear(self) -> dict[str, Any]:
        return json.loads(await self.socket.receive())

    async def ask(self, message: Any) -> dict[str, Any]:
        self.say(message)
        return await self.hear()

    async def events(self, *events: Any, **more: Any) -> dict[str, Any]:
        """Send a payload; events that are numbers become events with that ``n``."""
        return await self.ask(payload(*events, **more))

    async def end(self) -> Closed:
        """What closed the connection, after everything was heard."""
        try:
            unexpected = await self.socket.receive()
        except Closed as end:
            return end
        raise AssertionError(f"a message instead of the end: {unexpected!r}")


def event(n: Any, **more: Any) -> dict[str, Any]:
    return {"clientDateTime": 1_760_000_000_000 + n, "n": n, **more}


def payload(*events: Any, **more: Any) -> dict[str, Any]:
    made = [event(e) if type(e) is int else e for e in events]
    return {"payloadType": "LogUIEventPayload", "eventsToBeLogged": made, **more}


class ServedTestCase(TestCase):
    """``self.service`` listens on ``self.port``; ``self.flight`` accepts localhost, with ``self.token``.

    Subclasses set ``limits``. Tests may stop and start the server with :meth:`stop` and :meth:`start`; the
    data folder stays.
    """

    timeout = 180
    limits = Limits(drain_timeout=0.2)
    domains: tuple[str, ...] = ("localhost",)

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name)
        engine = open_engine(None, self.data_dir)
        migrate(engine)
        self.signer = TokenSigner(SigningKeys(self.data_dir))
        self.registry = Registry(engine, self.signer)
        self.application = self.registry.create_application("Study")
        self.flight: Flight = self.registry.create_flight(self.application.id, "Pilot", self.domains)
        self.token = self.signer.issue(self.flight)
        self.addCleanup(engine.dispose)
        self.start()
        self.addCleanup(self.stop)

    def start(self, **more: Any) -> None:
        settings = Settings(self.data_dir, ("tcp:0:interface=127.0.0.1",), limits=self.limits)
        self.service = LoguiService(reactor, evolve(settings, **more))
        self.service.privilegedStartService()
        self.service.startService()
        self.port = self.service.ports[0].getHost().port

    def stop(self) -> Deferred[None]:
        return self.service.stopService()

    async def connect(self, path: str = PATH, **more: Any) -> Client:
        socket = await connect(reactor, f"ws://127.0.0.1:{self.port}{path}", **more)
        self.addCleanup(lambda: (socket.abort(), socket.closed)[1])
        return Client(socket)

    def hello(self, **more: Any) -> dict[str, Any]:
        """A handshake that is accepted; a keyword None leaves its key out."""
        message = {
            "payloadType": "LogUIHandshake",
            "clientDateTime": int(time.time() * 1000),
            "appIdentifier": self.token,
            "appSpecificLogData": {},
            "domain": "localhost",
            **more,
        }
        return {key: value for key, value in message.items() if value is not None}

    async def greet(self, **more: Any) -> Client:
        """A client that has shaken hands; ``.session`` is its session, ``.welcome`` the answer."""
        client = await self.connect()
        client.welcome = await client.ask(self.hello(**more))
        self.assertEqual(client.welcome["statusCode"], "200", client.welcome)
        client.session = client.welcome["sessionIdentifier"]
        return client

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until it holds, however long that takes; the test's timeout is the only clock."""
        while not (found := holds()):
            await deferLater(reactor, 0.001)
        return found

    async def ended(self, session: str) -> Session:
        """The session, once the journal holds its end."""
        await self.until(lambda: session not in self.service._parts.intake.live)
        return self.session(session)

    def session(self, session: str) -> Session:
        """The session as the journal holds it now."""
        return self.reader().session(session)

    def sessions(self) -> list[Session]:
        return list(self.reader().sessions())

    def reader(self) -> JournalReader:
        connection = open_reader(self.data_dir)
        self.addCleanup(connection.close)
        return JournalReader(connection)

    def stored(self, session: str | None = None) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
        """(sequence number, event, application-specific data) of what is on disk, as it would be exported."""
        reader = self.reader()
        sessions = [reader.session(session)] if session else list(reader.sessions())
        return [
            (message.first_seq + place, json.loads(event.raw), json.loads(message.app_data))
            for message in reader.messages(sessions)
            for place, event in enumerate(BY_NAME[message.session.dialect].events(message.message))
        ]
