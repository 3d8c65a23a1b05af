"""The sink ``redis:`` over a real Redis."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.dialects.json_text import members
from logui_tx.errors import SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Position, SinkBatch
from logui_tx.records import record_json
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import SinkContract, make_record, make_session
from logui_tx.testing.sink_contract import JOURNAL, a_turn, made, make_batch
from tests.integration.redis import RedisServer
from tests.integration.sink_chaos import SinkChaos

SECRET = "hunter2-geheim"


class RedisSinkTestCase(TestCase):
    """``self.redis`` keeps what it has when it is stopped and started."""

    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.redis = RedisServer(*self.options, persistent=True)
        self.addCleanup(self.redis.close)

    def sink(self, parameters: str = "", uri: str = "") -> Any:
        maker, read, _ = read_uri(f"{uri or self.redis.uri}?{parameters}".rstrip("?"), sink_makers())
        sink = maker.make(read, reactor)
        self.addCleanup(sink.close)
        return sink

    async def opened(self, parameters: str = "", state: bytes = b"") -> Any:
        sink = self.sink(parameters)
        await sink.open(state)
        return sink

    def entries(self, journal: str = JOURNAL, stream: str = "logui") -> list[tuple[str, bytes]]:
        """Id and record of each entry."""
        told = self.redis.cli("--json", "XRANGE", f"{stream}:{journal}", "-", "+")
        return [(at, record.encode()) for at, (_, record) in json.loads(told)]

    def hash(self, name: str, journal: str = JOURNAL) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.redis.cli("--json", "HGETALL", f"logui:{journal}:{name}"))
        return found

    async def assert_away(self, doing: Any, *words: str) -> None:
        with self.assertRaises(SinkAway) as raised:
            await doing
        for word in words:
            self.assertIn(word, str(raised.exception))
        self.assertNotIn(SECRET, str(raised.exception))
        # Nothing of what was sent.
        self.assertNotIn("clientDateTime", str(raised.exception))


class RedisContractTests(SinkContract, RedisSinkTestCase):
    def make_sink(self) -> ISink:
        sink: ISink = self.sink("timeout=10s")
        return sink

    async def opened(self, state: bytes = b"") -> ISink:  # type: ignore[override]
        return await SinkContract.opened(self, state)

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        found = []
        for at, text in self.entries():
            # Halves of surrogate pairs are beyond most readers of JSON.
            record = members(text)
            record_id = json.loads(record["recordID"])
            self.assertEqual(record_id, f"{JOURNAL}-{at}")
            found.append((record_id, json.loads(record["sessionID"]), int(record["seq"]), record["event"]))
        return found

    async def kept_sessions(self) -> dict[str, str | None]:
        return {key: json.loads(one)["endReason"] for key, one in self.hash("sessions").items()}

    async def take_away(self) -> None:
        self.redis.stop()

    async def bring_back(self) -> None:
        self.redis.start()


class EntryTests(RedisSinkTestCase):
    async def test_an_entry(self) -> None:
        sink = await self.opened("stream=study")
        record = make_record(7, position=Position(12, 34))
        await sink.write(make_batch([record], [make_session()]))
        self.assertEqual(self.entries(stream="study"), [("12-34", record_json(record))])
        self.assertEqual(self.redis.cli("HGET", "study:journals", JOURNAL), "12-35")

    async def test_two_journals_have_two_streams(self) -> None:
        sink = await self.opened()
        batch = make_batch(made([1, 2]))
        other = JOURNAL[:-1] + "2"
        await sink.write(batch)
        await sink.write(evolve(batch, journal_id=other))
        self.assertEqual(len(self.entries()), 2)
        self.assertEqual(len(self.entries(other)), 2)

    async def test_a_number_of_entries(self) -> None:
        sink = await self.opened("maxlen=100")
        for at in range(1, 1001, 250):
            await sink.write(make_batch(made(range(at, at + 250))))
        left = self.entries()
        self.assertTrue(100 <= len(left) < 300, len(left))
        self.assertEqual(left[-1][0], "1-999")
        # What was trimmed is not written again.
        await sink.write(make_batch(made(range(1, 501))))
        self.assertEqual(self.entries(), left)
        self.assertEqual(self.hash("late"), {})

    async def test_what_consumers_have_deleted_is_not_written_again(self) -> None:
        sink = await self.opened()
        batch = make_batch(made(range(1, 6)))
        await sink.write(batch)
        self.redis.cli("XDEL", f"logui:{JOURNAL}", "1-2", "1-4")
        await sink.write(batch)
        self.assertEqual([at for at, _ in self.entries()], ["1-0", "1-1", "1-3"])
        self.assertEqual(self.hash("late"), {})

    async def test_what_comes_late(self) -> None:
        """A dead letter that is sent again, or a rewind before the sink's first record."""
        sink = await self.opened()
        await sink.write(make_batch([one for one in made(range(1, 10)) if one.seq not in (1, 5)]))
        for _ in range(2):
            await sink.write(make_batch(made([5])))
            await sink.write(make_batch(made([1, 2])))
        self.assertEqual([at for at, _ in self.entries()], [f"1-{n}" for n in (1, 2, 3, 5, 6, 7, 8)])
        self.assertEqual(
            self.hash("late"), {one.record_id: record_json(one).decode() for one in made([1, 5])}
        )

    async def test_what_comes_late_where_entries_are_trimmed(self) -> None:
        """What would have been trimmed is; the rest is late."""
        sink = await self.opened("maxlen=100")
        await sink.write(make_batch([one for one in made(range(1, 1001)) if one.seq not in (1, 990)]))
        await sink.write(make_batch(made([1])))
        await sink.write(make_batch(made([990])))
        self.assertEqual(list(self.hash("late")), [make_record(990).record_id])


class LostTests(RedisSinkTestCase):
    """Redis comes back without what it had, or with an older state of it."""

    async def lose(self, sink: Any) -> None:
        """All from 1-2 on."""
        await sink.write(make_batch(made([1, 2])))
        dump = self.redis.cli("--json", "XRANGE", f"logui:{JOURNAL}", "-", "+")
        await sink.write(make_batch(made([3, 4])))
        self.redis.cli("FLUSHALL")
        for at, (name, value) in json.loads(dump):
            self.redis.cli("XADD", f"logui:{JOURNAL}", at, name, value)

    async def test_it_waits(self) -> None:
        sink = await self.opened()
        await self.lose(sink)
        for _ in range(2):
            words = "has lost", "it had 1-3", "now it has 1-1", "rewind", "lost=go-on"
            await self.assert_away(sink.write(make_batch(made([5]))), *words)
        self.assertEqual(len(self.entries()), 2)
        # A rewind.
        await sink.write(make_batch(made([2, 3, 4])))
        await sink.write(make_batch(made([5])))
        self.assertEqual([at for at, _ in self.entries()], [f"1-{n}" for n in range(5)])

    async def test_it_waits_after_a_restart_too(self) -> None:
        sink = await self.opened()
        state = await sink.write(make_batch(made([1, 2])))
        self.redis.cli("FLUSHALL")
        sink = await self.opened("", state)
        await self.assert_away(sink.write(make_batch(made([3]))), "now it has 0-0")
        await sink.write(make_batch(made([1, 2, 3])))
        self.assertEqual(len(self.entries()), 3)

    async def test_nothing_but_sessions_is_lost(self) -> None:
        sink = await self.opened()
        await sink.write(make_batch(made([1, 2])))
        reach = self.redis.cli("HGET", "logui:journals", JOURNAL)
        batch = SinkBatch(JOURNAL, Position(1, 2), Position(2), (), (make_session(),))
        await sink.write(batch)
        self.redis.cli("HSET", "logui:journals", JOURNAL, reach)
        await self.assert_away(sink.write(make_batch([make_record(3, position=Position(2))])), "has lost")
        await sink.write(batch)
        await sink.write(make_batch([make_record(3, position=Position(2))]))

    async def test_nothing_but_the_stream_is_lost(self) -> None:
        """Redis may evict a key."""
        sink = await self.opened()
        await sink.write(make_batch(made([1, 2])))
        self.redis.cli("DEL", f"logui:{JOURNAL}")
        await self.assert_away(sink.write(make_batch(made([3]))), "has lost", "now it has 0-0")

    async def test_it_goes_on(self) -> None:
        sink = await self.opened("lost=go-on")
        await self.lose(sink)
        await sink.write(make_batch(made([5])))
        self.assertEqual([at for at, _ in self.entries()], ["1-0", "1-1", "1-4"])

    async def test_a_new_identity_of_the_journal(self) -> None:
        """It has a stream of its own, of which nothing is there yet; also after a restart."""
        sink = await self.opened()
        state = await sink.write(make_batch(made([1, 2])))
        for each in (sink, await self.opened("", state)):
            await each.write(evolve(make_batch([make_record(3, position=Position(2))]), journal_id="other"))
        self.assertEqual(len(self.entries()), 2)
        self.assertEqual(self.redis.cli("XLEN", "logui:other").strip(), "1")

    async def test_a_state_that_is_none(self) -> None:
        sink = await self.opened("", b"what is this")
        await sink.write(make_batch(made([1])))
        self.assertEqual(len(self.entries()), 1)


class TroubleTests(RedisSinkTestCase):
    async def test_memory_is_full(self) -> None:
        sink = await self.opened()
        self.redis.cli("CONFIG", "SET", "maxmemory", "1")
        batch = make_batch(made(range(1, 50)), [make_session()])
        await self.assert_away(sink.write(batch), "OOM")
        self.redis.cli("CONFIG", "SET", "maxmemory", "0")
        await sink.write(batch)
        self.assertEqual(len(self.entries()), 49)

    async def test_read_only(self) -> None:
        sink = await self.opened()
        self.redis.cli("CONFIG", "SET", "replica-serve-stale-data", "yes")
        self.redis.cli("REPLICAOF", "127.0.0.1", "1")
        await self.assert_away(sink.write(make_batch(made([1]))), "READONLY")
        self.redis.cli("REPLICAOF", "NO", "ONE")
        await sink.write(make_batch(made([1])))

    async def test_a_key_of_another_kind(self) -> None:
        for key in (f"logui:{JOURNAL}", f"logui:{JOURNAL}:sessions", "logui:journals"):
            self.redis.cli("FLUSHALL")
            self.redis.cli("SET", key, "x")
            sink = await self.opened()
            batch = make_batch(made([1]), [make_session()])
            await self.assert_away(sink.write(batch), "WRONGTYPE", "name another by ?stream=")
            self.redis.cli("DEL", key)
            await sink.write(batch)
            self.assertEqual(len(self.entries()), 1)

    async def test_hangs(self) -> None:
        sink = await self.opened("timeout=500ms")
        batch = make_batch(made([1, 2]))
        self.redis.freeze()
        await self.assert_away(sink.write(batch), "no answer within 0.5 s")
        await self.assert_away(sink.write(batch))
        self.redis.thaw()
        while True:
            try:
                await sink.write(batch)
            except SinkAway:
                await a_turn()
                continue
            break
        self.assertEqual(len(self.entries()), 2)

    async def test_replicas(self) -> None:
        sink = await self.opened("replicas=1&timeout=500ms")
        batch = make_batch(made([1, 2]))
        for _ in range(2):
            await self.assert_away(sink.write(batch), "only 0 of 1 replicas")
        replica = await deferToThread(
            RedisServer, "--replicaof", "127.0.0.1", str(self.redis.port), "--repl-diskless-sync-delay", "0"
        )
        self.addCleanup(replica.close)
        while True:
            try:
                await sink.write(batch)
            except SinkAway:
                await a_turn()
                continue
            break
        self.assertEqual(replica.cli("XLEN", f"logui:{JOURNAL}"), "2")


class PasswordTests(RedisSinkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.redis.cli("ACL", "SETUSER", "me", "on", f">{SECRET}", "~*", "+@all")
        self.redis.cli("ACL", "SETUSER", "default", "off")
        self.place = f"@127.0.0.1:{self.redis.port}/3"

    async def test_user_password_and_database(self) -> None:
        sink = self.sink(uri=f"redis://me:{SECRET}{self.place}")
        await sink.open(b"")
        await sink.write(make_batch(made([1])))
        info = self.redis.cli("--user", "me", "--pass", SECRET, "INFO", "keyspace")
        self.assertIn("db3:keys=2", info)

    async def test_a_wrong_password(self) -> None:
        sink = self.sink(uri=f"redis://me:x{SECRET}{self.place}")
        await self.assert_away(sink.open(b""), "WRONGPASS")
        await self.assert_away(sink.write(make_batch(made([1]))), "WRONGPASS")


class RedisChaosTests(SinkChaos, RedisSinkTestCase):
    maxDiff = None
    seed = 6
    secrets = (SECRET,)
    # With everysec Redis answers before it has written, where the disk is slow.
    options = ("--requirepass", SECRET, "--appendfsync", "always")

    def sink_uri(self) -> str:
        return f"redis://:{SECRET}@127.0.0.1:{self.redis.port}/0?stream=chaos"

    async def kill_other_end(self) -> None:
        await deferToThread(self.redis.stop)

    async def start_other_end(self) -> None:
        await deferToThread(self.redis.start)

    def read(self, *command: str) -> Any:
        """Of the only journal there is; JUST its name stands in ``command`` for it."""
        (journal,) = self.redis.cli("-a", SECRET, "HKEYS", "chaos:journals").split()
        words = [word.replace("JOURNAL", journal) for word in command]
        return json.loads(self.redis.cli("-a", SECRET, "--json", *words))

    async def held(self) -> list[dict[str, Any]]:
        self.assertEqual(await deferToThread(self.read, "HGETALL", "chaos:JOURNAL:late"), {})
        entries = await deferToThread(self.read, "XRANGE", "chaos:JOURNAL", "-", "+")
        return [json.loads(record) for _, (_, record) in entries]

    async def held_sessions(self) -> dict[str, str | None]:
        found = await deferToThread(self.read, "HGETALL", "chaos:JOURNAL:sessions")
        return {key: json.loads(one)["endReason"] for key, one in found.items()}
