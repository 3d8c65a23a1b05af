"""The session store on a real Redis: its contract, how it is reached, and what happens while it is away."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from logui_tx.errors import StoreAway
from logui_tx.interfaces import ISessionStore
from logui_tx.model import Kept, Known
from logui_tx.stores import open_store
from logui_tx.stores.redis import store as redis_store
from logui_tx.stores.redis.store import RedisSessionStore
from logui_tx.testing import SharedSessionStoreContract
from tests.integration.redis import ANSWERS, RedisServer, wait_at_most


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that will happen."""
    while not true():
        await deferLater(reactor, 0.005)


# Of a time in ms: every key is as much nearer to its end.
PASS_TIME = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 then redis.call('PEXPIRE', key, left - tonumber(ARGV[1])) end
end
"""


class RedisContractTests(SharedSessionStoreContract, TestCase):
    timeout = 60

    def make_stores(self, clock: Clock) -> Sequence[ISessionStore]:
        self.redis = RedisServer()
        self.addCleanup(self.redis.close)
        return [open_store(f"{self.redis.uri}?timeout={ANSWERS:g}s", reactor) for _ in range(3)]

    def setUp(self) -> Deferred[None]:
        super().setUp()

        async def ready() -> None:
            for end in (self.store, self.second, self.third):
                await end.when_ready()

        return Deferred.fromCoroutine(ready())

    async def pass_time(self, seconds: float) -> None:
        self.redis.cli("eval", PASS_TIME, "0", str(round(seconds * 1000)))

    async def settle(self) -> None:
        # Redis answers the teller after it has written to the hearers.
        heard = len(self.heard["third"]) + 1
        await self.second.tell("third", b"the last")
        await until(lambda: len(self.heard["third"]) >= heard and b"the last" in self.heard["third"])
        self.heard["third"].remove(b"the last")
        await deferLater(reactor, 0.05)


class RedisTestCase(TestCase):
    timeout = 60
    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.redis = RedisServer(*self.options)
        self.addCleanup(self.redis.close)
        self.backs = 0

    def open(self, uri: str | None = None, server: str = "me") -> RedisSessionStore:
        store = open_store(uri or f"{self.redis.uri}?timeout={ANSWERS:g}s", reactor)
        assert isinstance(store, RedisSessionStore)
        self.addCleanup(store.close)
        store.start(server, lambda _message: None, self.back)
        return store

    def back(self) -> None:
        self.backs += 1

    def silence(self, store: RedisSessionStore) -> None:
        """Redis answers nobody until :meth:`speech`."""
        wait_at_most(0.3, store)
        self.redis.freeze()

    def speech(self, store: RedisSessionStore) -> None:
        wait_at_most(ANSWERS, store)
        self.redis.thaw()

    async def ready(self, uri: str | None = None, server: str = "me") -> RedisSessionStore:
        store = self.open(uri, server)
        await store.when_ready()
        return store


class AddressTests(RedisTestCase):
    options = ("--requirepass", "s3cret word", "--user", "logui", "on", ">pässword", "~*", "&*", "+@all")

    async def test_password_user_database_prefix_and_socket(self) -> None:
        at = f"127.0.0.1:{self.redis.port}"
        uris = [
            f"redis://:s3cret%20word@{at}/3?prefix=a",
            f"redis://logui:p%C3%A4ssword@{at}/3?prefix=a",
            f"redis+unix://:s3cret%20word@{self.redis.folder}/socket?database=3&prefix=a",
        ]
        for number, uri in enumerate(uris):
            store = await self.ready(uri, f"server {number}")
            await store.save({"one": Kept(b"%d" % number)}, 60)
            self.assertEqual(len((await store.load("one")).views), number + 1)
        keys = self.redis.cli("-a", "s3cret word", "--no-auth-warning", "-n", "3", "keys", "*").split()
        self.assertEqual(sorted(keys), ["a:life", "a:servers", "a:session:one"])
        self.assertEqual(self.redis.cli("-a", "s3cret word", "--no-auth-warning", "dbsize"), "0")

    async def test_a_wrong_password(self) -> None:
        store = self.open(f"redis://:wr0ng@127.0.0.1:{self.redis.port}/0")
        await until(lambda: "WRONGPASS" in str(store.away))
        self.assertNotIn("wr0ng", str(store.away))
        await store.save({"one": Kept(b"1")}, 60)
        self.assertEqual(await store.load("one"), Known({"me": b"1"}, None))


class TLSTests(TestCase):
    timeout = 60

    async def test_tls(self) -> None:
        plain = RedisServer()
        self.addCleanup(plain.close)
        folder = plain.folder
        make_certificate(folder)
        plain.stop()
        redis = RedisServer(
            "--tls-port", str(plain.port), "--tls-cert-file", str(folder / "cert.pem"),
            "--tls-key-file", str(folder / "key.pem"), "--tls-auth-clients", "no", scheme="rediss",
        )  # fmt: skip
        self.addCleanup(redis.close)
        known = open_store(f"rediss://localhost:{plain.port}/0?ca={folder / 'cert.pem'}", reactor)
        assert isinstance(known, RedisSessionStore)
        self.addCleanup(known.close)
        known.start("me", lambda _message: None, lambda: None)
        await known.when_ready()
        await known.save({"one": Kept(b"1")}, 60)
        self.assertEqual(await known.load("one"), Known({"me": b"1"}, 0))
        stranger = open_store(f"rediss://localhost:{plain.port}/0", reactor)
        assert isinstance(stranger, RedisSessionStore)
        self.addCleanup(stranger.close)
        stranger.start("stranger", lambda _message: None, lambda: None)
        await until(lambda: stranger.away == "the connection was lost")


def make_certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


class AwayTests(RedisTestCase):
    async def test_killed_and_started(self) -> None:
        store = await self.ready()
        await store.save({"one": Kept(b"1", 1_000)}, 60)
        self.redis.stop()
        await until(lambda: store.away is not None)
        await store.save({"one": Kept(b"2", 1_000)}, 60)
        await store.save({"one": Kept(b"3", 1_000), "two": Kept(b"4", 500)}, 60)
        self.assertEqual(await store.load("one"), Known({"me": b"3"}, None))
        self.assertEqual(await store.load("three"), Known({}, None))
        await self.assertFailure(store.reserve("one", 1, 0, 60), StoreAway)
        await self.assertFailure(store.check(), StoreAway)
        self.assertEqual((await store.tell(None, b"x"), self.backs), (0, 1))
        self.redis.start()
        await until(lambda: store.away is None)
        self.assertEqual(self.backs, 2)
        self.assertEqual(await store.load("one"), Known({"me": b"3"}, 1_000))
        self.assertEqual(await store.load("two"), Known({"me": b"4"}, 500))

    async def test_data_that_was_lost_is_told_again_before_numbers_are_reserved(self) -> None:
        self.patch(redis_store, "NEW_LIFE", 1.0)
        store = await self.ready()
        self.assertEqual(await store.reserve("one", 10, 0, 60), 10)
        self.redis.cli("flushall")
        backs = self.backs
        # Before anybody has noticed.
        await self.assertFailure(store.reserve("one", 10, 0, 60), StoreAway)
        await until(lambda: store._new_life is not None)
        await self.assertFailure(store.reserve("one", 10, 0, 60), StoreAway)
        self.assertEqual(self.backs, backs + 1)
        await store.save({"one": Kept(b"1", 10)}, 60)
        await until(lambda: store._new_life is None)
        self.assertEqual(await store.reserve("one", 10, 0, 60), 20)

    async def test_a_life_that_goes_on(self) -> None:
        store = await self.ready()
        self.silence(store)
        await store.save({"one": Kept(b"1")}, 60)
        self.speech(store)
        await until(lambda: store.away is None)
        self.assertEqual(await store.reserve("one", 10, 0, 60), 10)

    async def test_no_answer_is_waited_for_once(self) -> None:
        store = await self.ready()
        self.silence(store)
        await store.save({"one": Kept(b"1")}, 60)
        self.assertIn("no answer within 0.3 s", str(store.away))
        # From now on nobody waits: this is answered in the same turn.
        self.assertEqual(self.successResultOf(store.save({"one": Kept(b"2")}, 60)), None)
        self.assertFalse(self.successResultOf(store.keep_ticket("t", 15)))
        self.speech(store)
        await until(lambda: store.away is None)
        self.assertEqual(await store.load("one"), Known({"me": b"2"}, 0))

    async def test_client_pause(self) -> None:
        store = await self.ready()
        wait_at_most(0.3, store)
        self.redis.cli("client", "pause", "600000", "write")
        await store.save({"one": Kept(b"1")}, 60)
        self.assertIsNotNone(store.away)
        wait_at_most(ANSWERS, store)
        self.redis.cli("client", "unpause")
        await until(lambda: store.away is None)
        self.assertEqual(await store.load("one"), Known({"me": b"1"}, 0))

    async def test_a_full_memory(self) -> None:
        store = await self.ready()
        self.redis.cli("config", "set", "maxmemory", "1")
        await store.save({"one": Kept(b"1")}, 60)
        self.assertIn("OOM", str(store.away))
        self.assertFalse(await store.keep_ticket("t", 15))
        self.redis.cli("config", "set", "maxmemory", "0")
        await until(lambda: store.away is None)
        self.assertEqual(await store.load("one"), Known({"me": b"1"}, 0))

    async def test_a_full_memory_is_noticed_though_nobody_writes(self) -> None:
        store = await self.ready()
        self.redis.cli("config", "set", "maxmemory", "1")
        await until(lambda: "OOM" in str(store.away))

    async def test_not_there_from_the_beginning(self) -> None:
        self.redis.stop()
        store = self.open()
        await store.save({"one": Kept(b"1")}, 60)
        self.redis.start()
        await store.when_ready()
        self.assertEqual(await store.load("one"), Known({"me": b"1"}, 0))

    async def test_many_are_written_back(self) -> None:
        store = await self.ready()
        self.redis.stop()
        await until(lambda: store.away is not None)
        sessions = {f"s{n}": Kept(b"x" * 1_000, n) for n in range(1_500)}
        await store.save(sessions, 60)
        await store.save({"other": Kept(b"y")}, 30)
        self.redis.start()
        await until(lambda: store.away is None)
        self.assertEqual(self.redis.cli("dbsize"), "1503")
        self.assertEqual(await store.load("s1499"), Known({"me": b"x" * 1_000}, 1_499))

    async def test_messages_are_heard_again(self) -> None:
        heard: list[bytes] = []
        other = open_store(f"{self.redis.uri}?timeout={ANSWERS:g}s", reactor)
        assert isinstance(other, RedisSessionStore)
        self.addCleanup(other.close)
        other.start("other", heard.append, lambda: None)
        await other.when_ready()
        store = await self.ready()
        self.redis.stop()
        await until(lambda: store.away is not None and other.away is not None)
        self.redis.start()
        await until(lambda: store.away is None)
        await other.when_ready()
        self.assertEqual(await store.tell("other", b"hello"), 1)
        await until(lambda: heard == [b"hello"])

    async def test_closing_does_not_wait_for_a_redis_that_hangs(self) -> None:
        store = await self.ready()
        self.redis.freeze()
        store.save({"one": Kept(b"1")}, 60)
        await store.close()
        await store.close()


class TroubleTests(RedisTestCase):
    async def test_a_subscription_that_is_dead(self) -> None:
        self.patch(redis_store, "PROBE_INTERVAL", 0.05)
        store = await self.ready()
        self.assertIsNone(store.trouble)
        dead = store._ear._protocol
        dead._heard = lambda _channel, _message: None
        await until(lambda: store._ear._protocol not in (dead, None))
        await until(lambda: store.trouble is None)

    async def test_a_subscription_that_is_not_allowed(self) -> None:
        self.redis.cli("acl", "setuser", "mute", "on", "nopass", "~*", "+@all", "resetchannels")
        store = self.open(f"redis://mute:x@127.0.0.1:{self.redis.port}/0")
        await until(lambda: store.trouble == "nothing is heard from other servers" or store.away)
        await until(lambda: "NOPERM" in store._ear_trouble or "NOPERM" in str(store.away))

    async def test_what_was_sent_is_not_repeated(self) -> None:
        store = await self.ready()
        failure = await self.assertFailure(store._link.command("NOSUCH", "s3cret"), StoreAway)
        self.assertIn("unknown command", str(failure))
        self.assertNotIn("s3cret", str(failure))

    async def test_two_of_one_name(self) -> None:
        self.patch(redis_store, "PROBE_INTERVAL", 0.05)
        stores = [await self.ready(), await self.ready()]
        await until(lambda: all("same journal" in str(store.trouble) for store in stores))
        await stores[0].close()
        await until(lambda: stores[1].trouble is None)

    async def test_a_key_of_another_kind_in_our_place(self) -> None:
        store = await self.ready()
        self.redis.cli("set", "logui:session:one", "hello")
        self.assertEqual(await store.load("one"), Known({}, None))
        self.assertIsNone(store.away)
        await store.save({"one": Kept(b"1", 7)}, 60)
        self.assertEqual(await store.load("one"), Known({"me": b"1"}, 7))
        self.redis.cli("hset", "logui:session:one", "reserved", "many")
        self.assertEqual(await store.load("one"), Known({}, None))

    async def test_what_answers_is_not_redis(self) -> None:
        for babble in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 50):
            listening = reactor.listenTCP(0, Babbler.factory(babble), interface="127.0.0.1")
            self.addCleanup(listening.stopListening)
            store = self.open(f"redis://127.0.0.1:{listening.getHost().port}/0?timeout=300ms")
            await until(lambda store=store: store.away != "there is no connection yet")
            await store.close()
        self.assertEqual(self.flushLoggedErrors(), [])


class Babbler(Protocol):
    """Says the same to whatever it hears."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    @classmethod
    def factory(cls, text: bytes) -> Factory:
        return Factory.forProtocol(lambda: cls(text))

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self._text)


class TicketsWhileAwayTests(RedisTestCase):
    async def test_kept_and_used_while_away(self) -> None:
        store, other = await self.ready(), await self.ready(server="other")
        self.assertTrue(await store.keep_ticket("one", 15))
        self.silence(store)
        self.assertTrue(await store.take_ticket("one", True, 15))
        self.assertFalse(await store.take_ticket("one", True, 15))
        self.speech(store)
        await until(lambda: store.away is None)
        await other.when_ready()
        self.assertFalse(await other.take_ticket("one", True, 15))
        self.assertFalse(await store.take_ticket("one", True, 15))

    async def test_two_at_once_while_no_answer_comes(self) -> None:
        store = await self.ready()
        await store.keep_ticket("one", 15)
        self.silence(store)
        taken = await gatherResults([store.take_ticket("one", True, 15) for _ in range(3)])
        self.assertEqual(sorted(taken), [False, False, True])

    async def test_issued_while_away(self) -> None:
        store, other = await self.ready(), await self.ready(server="other")
        self.redis.stop()
        await until(lambda: store.away is not None)
        for ticket in ("early", "late"):
            self.assertFalse(await store.keep_ticket(ticket, 15))
        self.assertTrue(await store.take_ticket("early", False, 15))
        self.redis.start()
        await until(lambda: store.away is None)
        await other.when_ready()
        self.assertFalse(await other.take_ticket("early", False, 15))
        self.assertTrue(await other.take_ticket("late", False, 15))
        self.assertFalse(await store.take_ticket("late", False, 15))

    async def test_what_was_used_is_forgotten_after_its_time(self) -> None:
        store = await self.ready()
        self.redis.stop()
        await until(lambda: store.away is not None)
        await store.take_ticket("one", False, 0.05)
        self.assertEqual(len(store._used), 1)
        await until(lambda: not store._used)


class ServersTests(RedisTestCase):
    async def test_how_many_there_are(self) -> None:
        store = await self.ready()
        other = await self.ready(server="other")
        await until(lambda: (store.servers, other.servers) == (2, 2))
