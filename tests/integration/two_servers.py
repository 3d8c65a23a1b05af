"""Two servers that share a real Redis, the registry and the signing keys; each has its own data folder."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.web.client import Agent, readBody

from logui_tx.dialects import BY_NAME
from logui_tx.journal.reader import JournalReader
from logui_tx.journal.schema import open_reader
from logui_tx.journal.segment import Kind, SegmentReader
from logui_tx.service import LoguiService
from tests.integration.redis import ANSWERS, RedisServer, wait_at_most
from tests.integration.served import Client, ServedTestCase


def stored(data_dir: Path, session_id: str) -> list[tuple[int, Any, dict[str, Any]]]:
    """(sequence number, the event's ``n``, application-specific data) of a session in one journal."""
    with closing(open_reader(data_dir)) as connection:
        reader = JournalReader(connection)
        sessions = [session for session in reader.sessions() if session.id == session_id]
        return [
            (message.first_seq + place, json.loads(event.raw)["n"], json.loads(message.app_data))
            for message in reader.messages(sessions)
            for place, event in enumerate(BY_NAME[message.session.dialect].events(message.message))
        ]


def jumps(data_dir: Path) -> list[int]:
    """Where a sequence goes on after a jump, as the journal's records mark it."""
    with closing(open_reader(data_dir)) as connection:
        blocks = [row[0] for row in connection.execute("SELECT block FROM segment ORDER BY id")]
    records = [record for block in blocks for record in SegmentReader().read(block)[0]]
    return [record.first_seq for record in records if record.kind == Kind.RESUMED and record.first_seq]


class TwoServersTestCase(ServedTestCase):
    """``self.services`` and ``self.folders``, each "a" and "b"; clients come to one by :meth:`greet_at`."""

    redis_options: tuple[str, ...] = ()

    def setUp(self) -> Deferred[None]:
        self.redis = RedisServer(*self.redis_options)
        self.addCleanup(self.redis.close)
        self.services: dict[str, LoguiService] = {}
        self.ports: dict[str, int] = {}
        second = TemporaryDirectory()
        self.addCleanup(second.cleanup)
        super().setUp()
        self.folders = {"a": self.data_dir, "b": Path(second.name)}
        self.start_at("b")
        return Deferred.fromCoroutine(self.ready())

    def start(self, **more: Any) -> None:
        """The first server."""
        self.folders = {"a": self.data_dir}
        self.start_at("a", **more)

    def start_at(self, name: str, **more: Any) -> None:
        data_dir, self.data_dir = self.data_dir, self.folders[name]
        super().start(**{**self.shared(), **more})
        self.data_dir = data_dir
        self.services[name], self.ports[name] = self.service, self.port

    def shared(self) -> dict[str, Any]:
        """The settings that make them one service."""
        return {
            "session_store": f"{self.redis.uri}?timeout={ANSWERS:g}s",
            "database": f"sqlite:///{self.folders['a'] / 'registry.sqlite'}",
            "secret_key_file": self.folders["a"] / "secret.key",
        }

    def silence(self) -> None:
        """Redis answers nobody, and keeps all connections, until :meth:`speech`."""
        self.wait_at_most(0.5)
        self.redis.freeze()

    def speech(self) -> None:
        self.wait_at_most(ANSWERS)
        self.redis.thaw()

    def wait_at_most(self, seconds: float) -> None:
        """For an answer of Redis."""
        wait_at_most(seconds, *[service._parts.store for service in self.services.values()])

    async def ready(self) -> None:
        for service in self.services.values():
            await service._parts.store.when_ready()

    def stop(self) -> Deferred[Any]:
        return DeferredList([service.stopService() for service in self.services.values()])

    async def greet_at(self, name: str, session: str | None = None, **more: Any) -> Client:
        self.port, self.service = self.ports[name], self.services[name]
        if session is not None:
            more["sessionIdentifier"] = session
        return await self.greet(**more)

    async def rested(self, name: str, session_id: str) -> None:
        """Done when the server has put the session to rest."""
        live = self.services[name]._parts.intake.live
        await self.until(lambda: session_id not in live)

    def stored_at(self, name: str, session_id: str) -> list[tuple[int, Any, dict[str, Any]]]:
        return stored(self.folders[name], session_id)

    async def report(self, port: int) -> tuple[int, Any]:
        """The health page's status and content."""
        response: Any = await Agent(reactor).request(b"GET", f"http://127.0.0.1:{port}/healthz".encode())
        return response.code, json.loads(await readBody(response))

    async def health(self, name: str) -> dict[str, Any]:
        state = await self.services[name]._store_health()
        return {"state": state.state.value, "detail": state.detail}
