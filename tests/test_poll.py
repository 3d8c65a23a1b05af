"""Readers, over real sockets: what a transport notices of them is nothing."""

import select
from collections.abc import Callable
from itertools import pairwise

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import ClientCreator, Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from logui_tx.web import poll
from logui_tx.web.poll import _FEW, _LOOKS, _SOON, Readers


class Heard(Protocol):
    """Notes what comes and how it ends; ``upon`` is called with each piece."""

    def __init__(self) -> None:
        self.data = b""
        self.upon: Callable[[bytes], object] = lambda data: None
        self.more: Deferred[None] = Deferred()
        self.ended: Deferred[type[BaseException] | None] = Deferred()

    def connectionMade(self) -> None:
        self.factory.readers.adopt(self.transport)
        self.factory.made(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.upon(data)
        more, self.more = self.more, Deferred()
        more.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        self.ended.callback(reason.type)


class ReadersTests(TestCase):
    """One server whose connections are read together."""

    async def setUp(self) -> None:
        self.readers = Readers(reactor)
        self.factory = Factory.forProtocol(Heard)
        self.factory.readers = self.readers
        self.port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.factory)
        self.addCleanup(self.port.stopListening)

    async def connect(self) -> tuple[Protocol, Heard]:
        made: Deferred[Heard] = Deferred()
        self.factory.made = made.callback
        client = await ClientCreator(reactor, Protocol).connectTCP("127.0.0.1", self.port.getHost().port)
        server = await made
        self.addCleanup(self.end, client, server)
        return client, server

    async def end(self, client: Protocol, server: Heard) -> None:
        client.transport.abortConnection()
        server.transport.abortConnection()
        if not server.ended.called:
            await server.ended

    def assert_let_go(self) -> None:
        self.assertNotIn(self.readers, reactor.getReaders())

    async def test_many_are_read(self) -> None:
        pairs = [await self.connect() for _ in range(5)]
        self.assertNotIn(pairs[0][1].transport, reactor.getReaders())
        self.assertIn(self.readers, reactor.getReaders())
        for n, (client, _) in enumerate(pairs):
            client.transport.write(b"%d" % n)
        for n, (_, server) in enumerate(pairs):
            while not server.data:
                await server.more
            self.assertEqual(server.data, b"%d" % n)

    async def test_a_pause_holds(self) -> None:
        client, server = await self.connect()
        other, bystander = await self.connect()
        server.transport.pauseProducing()
        client.transport.write(b"held")
        other.transport.write(b"heard")
        await bystander.more
        self.assertEqual(server.data, b"")
        server.transport.resumeProducing()
        await server.more
        self.assertEqual(server.data, b"held")

    async def test_a_clean_end(self) -> None:
        client, server = await self.connect()
        client.transport.write(b"last")
        client.transport.loseConnection()
        self.assertIs(await server.ended, ConnectionDone)
        self.assertEqual(server.data, b"last")
        self.assert_let_go()

    async def test_a_reset(self) -> None:
        client, server = await self.connect()
        client.transport.abortConnection()
        self.assertIs(await server.ended, ConnectionLost)
        self.assert_let_go()

    async def test_one_that_ends_itself(self) -> None:
        client, server = await self.connect()
        server.upon = lambda data: server.transport.abortConnection()
        client.transport.write(b"x")
        self.assertIs(await server.ended, ConnectionAborted)
        self.assert_let_go()

    async def test_one_that_fails_ends_alone(self) -> None:
        client, server = await self.connect()
        other, bystander = await self.connect()
        server.upon = lambda data: 1 / 0
        client.transport.write(b"x")
        self.assertIs(await server.ended, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        other.transport.write(b"y")
        await bystander.more
        self.assertEqual(bystander.data, b"y")

    async def test_one_whose_end_fails_ends_alone(self) -> None:
        client, server = await self.connect()
        other, bystander = await self.connect()
        real = server.connectionLost

        def failing(reason: Failure) -> None:
            real(reason)
            raise ZeroDivisionError

        server.connectionLost = failing
        client.transport.abortConnection()
        await server.ended
        other.transport.write(b"y")
        await bystander.more
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn(self.readers, reactor.getReaders())

    async def test_without_the_poll_all_are_lost(self) -> None:
        pairs = [await self.connect() for _ in range(2)]
        reactor.removeReader(self.readers)
        self.readers.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([await server.ended for _, server in pairs], [ConnectionLost] * 2)
        client, server = await self.connect()
        client.transport.write(b"next")
        await server.more
        self.assertEqual(server.data, b"next")

    async def test_one_ends_another_in_the_same_turn(self) -> None:
        pairs = [await self.connect() for _ in range(2)]

        def end_the_other(mine: Heard) -> Callable[[bytes], object]:
            (other,) = (server for _, server in pairs if server is not mine)
            return lambda data: other.transport.pauseProducing()

        for _, server in pairs:
            server.upon = end_the_other(server)
        # Both are readable when the reactor looks: nothing runs between here and there.
        for client, _ in pairs:
            client.transport.socket.send(b"z")
        server = pairs[0][1]
        while not any(server.data for _, server in pairs):
            await _turn()
        self.assertEqual(sorted(server.data for _, server in pairs), [b"", b"z"])

    async def test_who_sends_while_others_are_read_is_read_in_the_same_turn(self) -> None:
        self.assertGreater(_LOOKS, 1)
        self.patch(poll, "monotonic", lambda: 0.0)
        pairs = [await self.connect() for _ in range(5)]
        turns: list[int] = []
        do_read = self.readers.doRead
        self.patch(self.readers, "doRead", lambda: turns.append(0) or do_read())
        # Each has the next one send: as many as a turn looks for.
        for (_, server), (client, _) in pairwise(pairs[: _LOOKS + 1]):
            server.upon = lambda data, send=client.transport.socket.send: send(data)
        pairs[0][0].transport.socket.send(b"y")
        while not pairs[_LOOKS - 1][1].data:
            await _turn()
        self.assertEqual(len(turns), 1)
        while not pairs[_LOOKS][1].data:
            await _turn()
        self.assertEqual(len(turns), 2)

    async def test_what_waits_to_be_written_is_written(self) -> None:
        client, server = await self.connect()
        got = bytearray()
        all_of_it: Deferred[None] = Deferred()

        def receive(data: bytes) -> None:
            got.extend(data)
            if len(got) == 3_000_000:
                all_of_it.callback(None)

        client.dataReceived = receive
        server.transport.write(b"w" * 3_000_000)
        await all_of_it

    def test_others_are_left_alone(self) -> None:
        transport = StringTransport()
        self.readers.adopt(transport)
        self.assertFalse(hasattr(transport, "reactor"))

    async def test_a_unix_socket(self) -> None:
        await self.port.stopListening()
        from tempfile import TemporaryDirectory

        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        made: Deferred[Heard] = Deferred()
        self.factory.made = made.callback
        self.port = await UNIXServerEndpoint(reactor, f"{folder.name}/s").listen(self.factory)
        self.addCleanup(self.port.stopListening)
        client = await ClientCreator(reactor, Protocol).connectUNIX(f"{folder.name}/s")
        server = await made
        self.addCleanup(self.end, client, server)
        client.transport.write(b"u")
        await server.more
        self.assertEqual(server.data, b"u")


class Scripted:
    """An ``epoll`` that finds what it was told to, look by look."""

    def __init__(self, *looks: list[tuple[int, int]]) -> None:
        self.looks = list(looks)

    def poll(self, _timeout: float) -> list[tuple[int, int]]:
        return self.looks.pop(0)

    def register(self, _fd: int, _events: int) -> None:
        pass

    def unregister(self, _fd: int) -> None:
        pass


class Spoken:
    """A transport with something to read at any time; its own socket and protocol."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.socket = self.protocol = self
        self.read = 0
        self.lost: list[type[BaseException] | None] = []

    def fileno(self) -> int:
        return self.fd

    def recv(self, _most: int) -> bytes:
        self.read += 1
        return b"x"

    def dataReceived(self, data: bytes) -> None:
        pass

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason.type)


class LookTests(SynchronousTestCase):
    """What one turn does, by what its looks find."""

    def setUp(self) -> None:
        self.moment = 0.0
        self.patch(poll, "monotonic", lambda: self.moment)
        self.reactor = MemoryReactorClock()
        self.readers = Readers(self.reactor)
        self.readers._epoll = Scripted()
        self.transports = [Spoken(fd) for fd in range(_FEW)]
        for transport in self.transports:
            self.readers.addReader(transport)

    def turn(self, *looks: list[tuple[int, int]]) -> int:
        """How many looks are left."""
        self.readers._epoll = Scripted(*looks)
        self.readers.doRead()
        left = len(self.readers._epoll.looks)
        self.reactor.advance(0)
        return left

    def test_until_there_is_nothing(self) -> None:
        self.assertEqual(self.turn([(1, select.EPOLLIN)], [], [(1, select.EPOLLIN)]), 1)
        self.assertEqual(self.transports[1].read, 1)

    def test_who_never_ends_is_left_for_the_next(self) -> None:
        self.assertEqual(self.turn(*[[(1, select.EPOLLIN)]] * (_LOOKS + 1)), 1)
        self.assertEqual(self.transports[1].read, _LOOKS)

    def test_many_are_enough(self) -> None:
        all_of_them = [(fd, select.EPOLLIN) for fd in range(_FEW)]
        self.assertEqual(self.turn(all_of_them, []), 1)
        self.assertEqual(self.turn(all_of_them[1:], []), 0)

    def test_a_long_look_is_the_last(self) -> None:
        for seconds, left in ((_SOON * 0.9, 0), (_SOON * 1.1, 1)):

            def take_long(_data: bytes, seconds: float = seconds) -> None:
                self.moment += seconds

            self.transports[1].dataReceived = take_long  # type: ignore[method-assign]
            self.assertEqual(self.turn([(1, select.EPOLLIN)], []), left)

    def test_an_error_alone(self) -> None:
        self.turn([(1, select.EPOLLHUP), (2, select.EPOLLIN)], [])
        self.assertEqual((self.transports[1].read, self.transports[1].lost), (0, [ConnectionLost]))
        self.assertEqual(self.transports[2].read, 1)

    def test_who_is_lost_keeps_its_descriptor_for_the_turn(self) -> None:
        """The reactor may have seen something of it, too, and would take a newcomer for it."""
        self.readers._epoll = Scripted([(1, select.EPOLLHUP)], [])
        self.readers.doRead()
        self.assertEqual(self.transports[1].lost, [])
        self.assertNotIn(self.transports[1], self.readers.getReaders())
        self.reactor.advance(0)
        self.assertEqual(self.transports[1].lost, [ConnectionLost])

    def test_one_that_is_read_no_more(self) -> None:
        self.transports[2].dataReceived = lambda data: self.readers.removeReader(self.transports[1])  # type: ignore[method-assign]
        self.turn([(2, select.EPOLLIN), (1, select.EPOLLIN)], [(1, select.EPOLLIN)], [])
        self.assertEqual(self.transports[1].read, 0)


def _turn() -> "Deferred[None]":
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned
