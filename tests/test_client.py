"""The WebSocket client against a real socket on the loopback."""

import subprocess
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from logui_tx.web.client import ABNORMAL, NO_STATUS, Closed, Socket, UpgradeRefused, connect
from tests.fake_server import Conversation, FakeServer


class Echo(Conversation):
    """Sends back what it gets, text as text; some words are commands."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        match payload.split():
            case [b"close", code, *reason]:
                self.sendCloseFrame(int(code), b" ".join(reason) or None)
            case [b"close"]:
                self.sendCloseFrame()
            case [b"burst", count]:
                for number in range(int(count)):
                    self.sendMessage(b"%d" % number)
            case [b"bye", count]:
                for number in range(int(count)):
                    self.sendMessage(b"%d" % number)
                self.sendCloseFrame(1000)
            case [b"drop"]:
                self.transport.abortConnection()
            case [b"close-and-drop", code]:
                self.sendCloseFrame(int(code))
                self.transport.loseConnection()
            case _:
                self.sendMessage(payload, isBinary)


class Canned(Protocol):
    """Answers whatever comes with fixed bytes; None: never."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.heard.callback(data) if not self.factory.heard.called else None
        if self.factory.answer is not None:
            self.transport.write(self.factory.answer)
            self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.lost.callback(None)


class ClientTestCase(TestCase):
    timeout = 30

    def serve(self) -> FakeServer:
        server = FakeServer(reactor)
        server.protocol = Echo
        server.start()
        self.addCleanup(server.stop)
        return server

    def serve_canned(self, answer: bytes | None) -> tuple[FakeServer, Factory]:
        factory = Factory.forProtocol(Canned)
        factory.noisy = False
        factory.answer, factory.heard, factory.lost = answer, Deferred(), Deferred()
        server = FakeServer(reactor)
        server.start_raw(factory)
        self.addCleanup(server.stop)
        return server, factory

    async def socket(self, **options: Any) -> Socket:
        self.server = self.serve()
        socket = await connect(reactor, self.server.url, **options)
        self.addCleanup(self.gone, socket)
        return socket

    async def gone(self, socket: Socket) -> None:
        socket.abort()
        await socket.closed


class MessagesTests(ClientTestCase):
    async def test_both_kinds_in_order(self) -> None:
        socket = await self.socket()
        receipts = [socket.receive() for _ in range(2)]
        socket.send(b"one")
        socket.send(b"\xff\x00", binary=True)
        socket.send(b"three")
        self.assertEqual([await receipt for receipt in receipts], [b"one", b"\xff\x00"])
        self.assertEqual(await socket.receive(), b"three")

    async def test_callback_instead(self) -> None:
        got: list[bytes] = []
        socket = await self.socket(on_message=got.append)
        socket.send(b"bye 3")
        await socket.closed
        self.assertEqual(got, [b"0", b"1", b"2"])

    async def test_all_is_received_before_the_end(self) -> None:
        socket = await self.socket()
        socket.send(b"bye 3")
        await socket.closed
        self.assertEqual([await socket.receive() for _ in range(3)], [b"0", b"1", b"2"])
        error = await self.assertFailure(socket.receive(), Closed)
        self.assertEqual((error.code, error.clean), (1000, True))
        await self.assertFailure(socket.receive(), Closed)

    async def test_who_waits_hears_of_the_end(self) -> None:
        socket = await self.socket()
        receipts = [self.assertFailure(socket.receive(), Closed) for _ in range(2)]
        socket.send(b"drop")
        for receipt in receipts:
            self.assertEqual((await receipt).code, ABNORMAL)

    async def test_cancelled_receive_loses_nothing(self) -> None:
        socket = await self.socket()
        first, second, third = (socket.receive() for _ in range(3))
        second.cancel()
        await self.assertFailure(second, CancelledError)
        socket.send(b"one")
        socket.send(b"two")
        self.assertEqual([await first, await third], [b"one", b"two"])

    async def test_compression(self) -> None:
        socket = await self.socket(compress=True)
        self.assertTrue(socket.compressed)
        socket.send(b"word " * 1000)
        self.assertEqual(await socket.receive(), b"word " * 1000)
        self.assertFalse((await self.socket()).compressed)

    async def test_raw_bytes(self) -> None:
        socket = await self.socket()
        socket.send_raw(b"\x81\x82\x00\x00")  # the frame of "hi", in two halves
        socket.send_raw(b"\x00\x00hi")
        self.assertEqual(await socket.receive(), b"hi")
        socket.send_raw(b"\x81\x02hi")  # not masked: a violation
        self.assertEqual((await socket.closed).code, ABNORMAL)


class ReadingTests(ClientTestCase):
    async def test_a_full_buffer_stops_reading_and_loses_nothing(self) -> None:
        socket = await self.socket(max_buffer=1000)
        calls = self.watch(socket)
        socket.send(b"burst 2000")
        await self.first_pause
        self.assertEqual([await socket.receive() for _ in range(2000)], [b"%d" % n for n in range(2000)])
        self.assertEqual(calls[-1], "resume")

    async def test_pause_and_resume(self) -> None:
        socket = await self.socket(max_buffer=10)
        calls = self.watch(socket)
        socket.pause_reading()
        socket.send(b"burst 20")
        self.assertEqual(calls, ["pause"])
        receipt = socket.receive()
        socket.resume_reading()
        self.assertEqual(calls, ["pause", "resume"])
        self.assertEqual(await receipt, b"0")

    async def test_a_full_buffer_does_not_undo_a_pause(self) -> None:
        socket = await self.socket(max_buffer=10)
        socket._received(b"x" * 11)  # full
        socket.pause_reading()
        calls = self.watch(socket)
        await socket.receive()
        self.assertNotIn("resume", calls)

    def watch(self, socket: Socket) -> list[str]:
        """What the transport is told from now on."""
        calls: list[str] = []
        self.first_pause: Deferred[None] = Deferred()
        transport = socket._protocol.transport
        pause, resume = transport.pauseProducing, transport.resumeProducing

        def told_to_pause() -> None:
            calls.append("pause")
            pause()
            if not self.first_pause.called:
                self.first_pause.callback(None)

        def told_to_resume() -> None:
            calls.append("resume")
            resume()

        self.patch(transport, "pauseProducing", told_to_pause)
        self.patch(transport, "resumeProducing", told_to_resume)
        return calls


class EndTests(ClientTestCase):
    async def ended_by(self, command: bytes) -> tuple[int, str]:
        socket = await self.socket()
        socket.send(command)
        end = await socket.closed
        self.assertIs(await socket.closed, end)
        return end.code, end.reason

    async def test_codes(self) -> None:
        self.assertEqual(await self.ended_by(b"close 1008 five hits"), (1008, "five hits"))
        self.assertEqual(await self.ended_by(b"close 4005"), (4005, ""))
        self.assertEqual(await self.ended_by(b"close 1012"), (1012, ""))
        self.assertEqual((await self.ended_by(b"close"))[0], NO_STATUS)
        self.assertEqual((await self.ended_by(b"drop"))[0], ABNORMAL)
        self.assertEqual((await self.ended_by(b"close-and-drop 1001"))[0], 1001)

    async def test_own_close_with_any_code(self) -> None:
        for code in (1000, 1001, 4321):
            socket = await self.socket()
            socket.close(code)
            self.assertTrue((await socket.closed).clean)
            self.assertEqual(self.server.closes, [code])

    async def test_abort(self) -> None:
        socket = await self.socket()
        socket.abort()
        self.assertEqual((await socket.closed).code, ABNORMAL)

    async def test_everything_is_harmless_afterwards(self) -> None:
        socket = await self.socket()
        socket.close()
        socket.send(b"too late")
        socket.close()
        await socket.closed
        socket.send(b"later")
        socket.send_raw(b"later")
        socket.close()
        socket.abort()
        socket.pause_reading()
        socket.resume_reading()

    async def test_cancelled_watcher_harms_no_other(self) -> None:
        socket = await self.socket()
        first, second = socket.closed, socket.closed
        first.cancel()
        await self.assertFailure(first, CancelledError)
        socket.abort()
        self.assertEqual((await second).code, ABNORMAL)


class ConnectTests(ClientTestCase):
    async def test_request(self) -> None:
        await self.socket(origin="https://example.org", headers={"Cookie": "visitor=1"})
        (request,) = self.server.upgrades
        self.assertEqual(request.headers["origin"], "https://example.org")
        self.assertEqual(request.headers["cookie"], "visitor=1")
        self.assertEqual(request.path, "/logui/endpoint/0.4.0/")

    async def test_no_nagle(self) -> None:
        socket = await self.socket()
        self.assertTrue(socket._protocol.transport.getTcpNoDelay())

    async def test_refused_upgrade(self) -> None:
        server = self.serve()
        server.refuse_upgrades = 2
        for status in (404, 503):
            server.refusal_status = status
            error = await self.assertFailure(connect(reactor, server.url), UpgradeRefused)
            self.assertEqual(error.status, status)
            self.assertIn(str(status), str(error))

    async def test_not_http(self) -> None:
        server, factory = self.serve_canned(b"220 mail.example.org ESMTP\r\n\r\n")
        error = await self.assertFailure(connect(reactor, server.url), UpgradeRefused, Closed)
        self.assertNotIn("\n", str(error))
        await factory.lost

    async def test_ended_before_the_answer(self) -> None:
        server, factory = self.serve_canned(b"")
        error = await self.assertFailure(connect(reactor, server.url), Closed)
        self.assertEqual(error.code, ABNORMAL)
        await factory.lost

    async def test_nobody_listens(self) -> None:
        server = FakeServer(reactor)
        server.start()
        url = server.url
        await server.stop()
        await self.assertFailure(connect(reactor, url), ConnectionRefusedError)

    async def test_bad_urls(self) -> None:
        for url in ("http://localhost/", "ws://", "localhost:8081", "ws://localhost:http/"):
            await self.assertFailure(connect(reactor, url), ValueError)

    async def test_cancelled_while_connecting(self) -> None:
        opening = connect(reactor, self.serve().url)
        opening.cancel()
        await self.assertFailure(opening, CancelledError)

    async def test_cancelled_during_the_upgrade(self) -> None:
        server, factory = self.serve_canned(None)
        opening = connect(reactor, server.url)
        await factory.heard
        opening.cancel()
        await self.assertFailure(opening, CancelledError)
        await factory.lost

    def test_importing_leaves_the_reactor_alone(self) -> None:
        code = (
            "import sys, logui_tx.web.client;"
            "import logui_tx.replay.player, logui_tx.replay.mouse, logui_tx.replay.command;"
            "sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)
