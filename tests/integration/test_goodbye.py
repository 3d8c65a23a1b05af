"""The end of a connection below WebSocket, after both have said goodbye."""

from __future__ import annotations

import base64
import socket
import ssl
from typing import Any

from twisted.internet.threads import deferToThread

from logui_tx.web import websocket
from tests.integration.logui05 import ORIGIN, PATH, LogUI05TestCase
from tests.integration.test_hostile_input import frame
from tests.integration.test_kraken_tls import make_certificate

CLOSE = 8


class GoodbyeTestCase(LogUI05TestCase):
    def connection(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.addCleanup(made.close)
        return made

    def hear(self, connection: socket.socket, end: bytes) -> None:
        heard = b""
        while end not in heard:
            more = connection.recv(4096)
            self.assertTrue(more, heard)
            heard += more

    def last_words(self, said: bytes) -> socket.socket:
        """Upgrade, say it, and answer the close frame; in a thread."""
        connection = self.connection()
        key = base64.b64encode(bytes(16)).decode()
        connection.sendall(
            f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nOrigin: {ORIGIN}\r\n\r\n".encode()
        )
        self.hear(connection, b"\r\n\r\n")
        connection.sendall(said)
        self.hear(connection, b"\x88")
        if said[0] & 15 != CLOSE:
            connection.sendall(frame(b"\x0f\xa1", opcode=CLOSE))
        return connection


class TCPTests(GoodbyeTestCase):
    async def test_no_reset(self) -> None:
        def end(said: bytes) -> Any:
            return self.last_words(said).recv(4096)

        for said in (frame(b"?"), frame(b"", opcode=CLOSE)):
            self.assertEqual(await deferToThread(end, said), b"")


class TLSTests(GoodbyeTestCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.stop()
        path = self.data_dir / "localhost.pem"
        make_certificate(path)
        self.start(listen=(f"ssl:0:interface=127.0.0.1:privateKey={path}",))
        self.context = ssl.create_default_context(cafile=str(path))

    def connection(self) -> socket.socket:
        made = self.context.wrap_socket(super().connection(), server_hostname="localhost")
        self.addCleanup(made.close)
        return made

    async def test_who_does_not_close_its_half_is_dropped(self) -> None:
        self.patch(websocket, "CLOSE_TIMEOUT", 0.05)
        for said in (frame(b"?"), frame(b"", opcode=CLOSE)):
            await deferToThread(self.last_words, said)
            await self.until(lambda: not self.service._sockets)
