"""LogUI 0.5 over real sockets: greeting, and what comes out again, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from logui_tx.dialects import json_text
from tests.integration.process import logui
from tests.integration.served import Client, ServedTestCase
from tests.logui05 import handshake

PATH = "/ws/endpoint/"
ORIGIN = "http://localhost"


def items_of(frame: bytes) -> list[bytes]:
    """The items of a client's message, each as it was sent; none where it is another message."""
    payload = json_text.members(json_text.members(frame)["payload"])
    return json_text.elements(payload.get("items", b"[]"))


def exported(data_dir: Path, flight: str) -> list[dict[str, bytes]]:
    """All records of ``logui export --format jsonl``, their members as they are written there."""
    return [json_text.members(line) for line in _export(data_dir, flight, "jsonl").splitlines()]


def downloaded(data_dir: Path, flight: str) -> list[dict[str, bytes]]:
    """The entries of ``logui export --format logui``, likewise."""
    return [json_text.members(entry) for entry in json_text.elements(_export(data_dir, flight, "logui"))]


def _export(data_dir: Path, flight: str, form: str) -> bytes:
    output = data_dir / f"export.{form}"
    logui(data_dir, "export", "--flight", flight, "--format", form, "--output", str(output))
    return output.read_bytes()


class LogUI05TestCase(ServedTestCase):
    async def open(self, **more: Any) -> Client:
        """A connection of a page, without a word yet."""
        return await self.connect(PATH, **{"origin": ORIGIN, **more})

    async def shake_hands(self, client: Client, **changes: Any) -> Client:
        client.welcome = await client.ask(handshake(self.token, **changes))
        self.assertEqual(client.welcome["type"], "handshakeSuccess")
        client.session = client.welcome["payload"]["sessionID"]
        return client

    async def greet(self, session: str | None = None, **more: Any) -> Client:
        more = {"origin": ORIGIN, **more}
        told = {} if session is None else {"sessionID": session}
        return await self.shake_hands(await self.open(**more), pageOrigin=more["origin"], **told)

    async def go(self, client: Client) -> None:
        """As ``stop()`` and a page's end do: a close frame without a code."""
        client.socket._protocol.sendCloseFrame()
        await client.socket.closed

    async def export(self) -> list[dict[str, bytes]]:
        return await deferToThread(exported, self.data_dir, self.flight.id)

    async def download(self) -> list[dict[str, bytes]]:
        return await deferToThread(downloaded, self.data_dir, self.flight.id)
