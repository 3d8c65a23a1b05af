"""What every sink must keep, as tests: see :class:`SinkContract`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import cooperate
from zope.interface.verify import verifyObject

from logui_tx.errors import RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Position, Record, Session, SinkBatch

if TYPE_CHECKING:
    from unittest import TestCase
else:
    TestCase = object

JOURNAL = "6f3f4a56-6c1c-4f40-9a3c-0d3cf5f0a001"

HOSTILE = (
    b'{"nul":"\\u0000","half":"\\ud83d","pair":"\\ud83d\\ude00","text":"\xc3\xa9\xe2\x80\xa8"}',
    b'{"n":1e400,"m":-0,"long":123456789012345678901234567890.10,"same":1,"same":2}',
    b'{"' + b"\\u0000" * 3 + b'":null,"":{"a.b":[[],{}]},"$set":1}',
    b'{"deep":' + b"[" * 400 + b"]" * 400 + b"}",
    b'{"sql":"\'; DROP TABLE events; --","csv":"=1+1,\\"\\r\\n","html":"<script>"}',
    b'{"large":"' + b"x" * 500_000 + b'"}',
)
"""Events that a client may well have sent."""


def make_record(
    seq: int, session: str = "s1", *, position: Position | None = None, event: bytes | None = None
) -> Record:
    """A record number ``seq`` of a session; by default at event ``seq - 1`` of the first segment."""
    at = position or Position(1, seq - 1)
    return Record(
        record_id=f"{JOURNAL}-{at.segment}-{at.event}",
        application_id="11111111-1111-4111-8111-111111111111",
        flight_id="22222222-2222-4222-8222-222222222222",
        session_id=session,
        seq=seq,
        received_at="2026-11-22T10:00:00.250Z",
        client_time=1_795_341_600_000 + seq,
        clock_offset=-5,
        dialect="logui-0.4",
        app_data=b'{"condition":"A"}',
        event=b'{"clientDateTime":%d,"n":%d}' % (1_795_341_600_000 + seq, seq) if event is None else event,
        position=at,
    )


def make_session(session: str = "s1", **more: Any) -> Session:
    """A session that is open."""
    known: dict[str, Any] = {
        "number": 1,
        "id": session,
        "flight_id": "22222222-2222-4222-8222-222222222222",
        "application_id": "11111111-1111-4111-8111-111111111111",
        "dialect": "logui-0.4",
        "started_at": 1_795_341_600_000,
        "last_activity": 1_795_341_600_000,
        "events": 0,
        "size": 0,
        "app_data": b'{"condition":"A"}',
    }
    return Session(**{**known, **more})


def make_batch(
    records: Sequence[Record], sessions: Sequence[Session] = (), *, ends: bool = False
) -> SinkBatch:
    """A batch of records that follow each other; with ``ends`` it ends with the last one's segment."""
    first, last = records[0].position, records[-1].position
    after = Position(last.segment + 1) if ends else Position(last.segment, last.event + 1)
    return SinkBatch(JOURNAL, first, after, tuple(records), tuple(sessions))


def made(seqs: Iterable[int], session: str = "s1") -> list[Record]:
    """Records of one session with these numbers."""
    return [make_record(seq, session) for seq in seqs]


def a_turn() -> Deferred[Any]:
    """Fires after the reactor has had its turn: a sink may say at once that the other end is away."""
    return cooperate(iter([None])).whenDone()


class SinkContract(TestCase):
    """To stand before trial's ``TestCase`` in the bases; say there how the sink is made and looked into.

    ``keeps_sessions`` is False for a sink that is not interested in sessions.
    """

    keeps_sessions = True

    def make_sink(self) -> ISink:
        """A new object for the same place each time, as after a restart."""
        raise NotImplementedError

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        """Record id, session, seq and event of all that is there, in its order; event as it is there.

        Where a store cannot keep an event's text as it is (a lone surrogate, the order of keys), return
        :attr:`Record.event` of what the text means, and override :meth:`same_event`.
        """
        raise NotImplementedError

    async def kept_sessions(self) -> dict[str, str | None]:
        """The end reason of each session that is there, by id. Not called without ``keeps_sessions``."""
        raise NotImplementedError

    async def take_away(self) -> None:
        """From now on the other end does not answer."""
        raise NotImplementedError

    async def bring_back(self) -> None:
        """It answers again, with all that it had."""
        raise NotImplementedError

    def refused_record(self) -> Record | None:
        """A record numbered 3 that the other end refuses for good; None where there is no such record."""
        return None

    def same_event(self, sent: bytes, kept: bytes) -> bool:
        """Whether what is kept is the event."""
        return sent == kept

    # --- for the tests

    async def opened(self, state: bytes = b"") -> ISink:
        sink = self.make_sink()
        self.addCleanup(sink.close)
        await sink.open(state)
        return sink

    async def write(self, sink: ISink, batch: SinkBatch) -> bytes:
        """As the delivery does; what it fires with."""
        preparing = sink.prepare(batch)
        if preparing is not None:
            await preparing
        state: bytes = await sink.write(batch)
        return state

    async def assert_kept(self, records: Sequence[Record]) -> None:
        """Exactly these are there, each session in its order."""
        kept = await self.kept()
        self.assertEqual(sorted(one[0] for one in kept), sorted(one.record_id for one in records))
        by_id = {record.record_id: record for record in records}
        for record_id, session, seq, event in kept:
            record = by_id[record_id]
            self.assertEqual((session, seq), (record.session_id, record.seq))
            self.assertTrue(self.same_event(record.event, event), (record.event[:200], event[:200]))
        for session in {record.session_id for record in records}:
            numbers = [seq for _, of, seq, _ in kept if of == session]
            self.assertEqual(numbers, sorted(numbers))

    # --- the promises

    def test_the_interface(self) -> None:
        verifyObject(ISink, self.make_sink())

    async def test_batches(self) -> None:
        sink = await self.opened()
        state = await self.write(sink, make_batch(made(range(1, 6)), [make_session()]))
        self.assertIsInstance(state, bytes)
        await self.write(sink, make_batch(made(range(6, 8))))
        await self.assert_kept(made(range(1, 8)))

    async def test_sessions_side_by_side(self) -> None:
        sink = await self.opened()
        sent: list[Record] = []
        for n in range(30):
            record = make_record(n // 3 + 1, f"s{n % 3}", position=Position(1 + n // 10, n % 10))
            sent.append(record)
        for at in range(0, 30, 5):
            await self.write(sink, make_batch(sent[at : at + 5], [make_session(f"s{n}") for n in range(3)]))
        await self.assert_kept(sent)

    async def test_the_same_batch_again(self) -> None:
        sink = await self.opened()
        batch = make_batch(made(range(1, 6)), [make_session()])
        await self.write(sink, batch)
        await self.write(sink, batch)
        await self.assert_kept(made(range(1, 6)))

    async def test_the_same_batch_after_a_crash(self) -> None:
        """What was saved is how things stood before the batch was written; the sink was not closed."""
        sink = await self.opened()
        state = await self.write(sink, make_batch(made(range(1, 4)), [make_session()]))
        batch = make_batch(made(range(4, 9)), [make_session()])
        preparing = sink.prepare(batch)
        if preparing is not None:
            state = await preparing
        await sink.write(batch)
        again = await self.opened(state)
        await self.write(again, batch)
        await self.write(again, make_batch(made(range(9, 12))))
        await self.assert_kept(made(range(1, 12)))

    async def test_a_longer_batch_after_a_crash(self) -> None:
        """Where nothing is prepared, batches need not be the same again."""
        sink = await self.opened()
        state = await self.write(sink, make_batch(made(range(1, 4))))
        batch = make_batch(made(range(4, 9)))
        if sink.prepare(batch) is not None:
            return
        await sink.write(batch)
        again = await self.opened(state)
        await self.write(again, make_batch(made(range(4, 6))))
        await self.write(again, make_batch(made(range(6, 20))))
        await self.assert_kept(made(range(1, 20)))

    async def test_closed_and_opened(self) -> None:
        sink = await self.opened()
        state = await self.write(sink, make_batch(made([1, 2])))
        await sink.close()
        await sink.close()
        sink = await self.opened(state)
        await self.write(sink, make_batch(made([3, 4])))
        await sink.close()
        await self.assert_kept(made(range(1, 5)))

    async def test_closed_without_having_been_opened(self) -> None:
        await self.make_sink().close()

    async def test_whatever_clients_send(self) -> None:
        sink = await self.opened()
        sent = [make_record(n, event=event) for n, event in enumerate(HOSTILE, 1)]
        sent.append(replace(make_record(len(HOSTILE) + 1), client_time=None, clock_offset=None))
        sent[0] = replace(sent[0], app_data=HOSTILE[0])
        odd = {
            "user_agent": "\x00'\ud83d\"\\",
            "origin": "\x00",
            "referrer": "\ufeff",
            "device": '{"os":"\ud83d"}',
        }
        await self.write(sink, make_batch(sent, [make_session(**odd, app_data=HOSTILE[0])]))
        await self.assert_kept(sent)

    async def test_sessions(self) -> None:
        if not self.keeps_sessions:
            return
        sink = await self.opened()
        await self.write(sink, make_batch(made([1]), [make_session("s1"), make_session("s2")]))
        ended = make_session("s1", ended_at=1_795_341_700_000, end_reason="closed", events=2)
        await self.write(sink, make_batch(made([2]), [ended]))
        self.assertEqual(await self.kept_sessions(), {"s1": "closed", "s2": None})

    async def test_nothing_but_sessions(self) -> None:
        sink = await self.opened()
        at = Position(1)
        await self.write(sink, SinkBatch(JOURNAL, at, Position(2), (), (make_session("s1"),)))
        await self.assert_kept([])
        if self.keeps_sessions:
            self.assertEqual(await self.kept_sessions(), {"s1": None})

    async def test_away_and_back(self) -> None:
        sink = await self.opened()
        await self.write(sink, make_batch(made([1, 2])))
        await self.take_away()
        batch = make_batch(made([3, 4]), [make_session()])
        for _ in range(2):
            with self.assertRaises(SinkAway):
                await self.write(sink, batch)
        await self.bring_back()
        await self.written_in_the_end(sink, batch)
        await self.assert_kept(made(range(1, 5)))

    async def written_in_the_end(self, sink: ISink, batch: SinkBatch) -> None:
        """The other end may need a moment."""
        while True:
            try:
                await self.write(sink, batch)
            except SinkAway:
                await a_turn()
                continue
            return

    async def test_opened_while_it_is_away(self) -> None:
        """It may fail at once, or when something is written."""
        await self.take_away()
        sink = self.make_sink()
        self.addCleanup(sink.close)
        batch = make_batch(made([1, 2]))
        with self.assertRaises(SinkAway):
            await sink.open(b"")
            await self.write(sink, batch)
        await self.bring_back()
        while True:
            try:
                await sink.open(b"")
            except SinkAway:
                await a_turn()
                continue
            break
        await self.written_in_the_end(sink, batch)
        await self.assert_kept(made([1, 2]))

    async def test_refused_for_good(self) -> None:
        """Nothing of the batch is kept, and the rest is taken in halves."""
        bad = self.refused_record()
        if bad is None:
            return
        sink = await self.opened()
        good = made([1, 2]), made([4, 5])
        with self.assertRaises(RecordsRefused):
            await self.write(sink, make_batch([*good[0], bad, *good[1]]))
        await self.assert_kept([])
        await self.write(sink, make_batch(good[0]))
        with self.assertRaises(RecordsRefused):
            await self.write(sink, make_batch([bad]))
        await self.write(sink, make_batch(good[1]))
        await self.assert_kept([*good[0], *good[1]])
