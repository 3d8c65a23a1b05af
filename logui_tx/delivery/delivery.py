"""One sink's delivery: from its cursor on, batch by batch, for as long as the server runs.

::

    read a batch -> steps -> prepare, save the bounds -> write -> save the cursor -> ...
                                                          |
                      away: again after a while <---------+---------> refused: in halves, down to
                                                                      what cannot be taken: a dead letter

Every round looks at the cursor as the journal has it: operators may have paused or moved it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import uniform
from typing import Protocol

from attrs import evolve
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from logui_tx.delivery import told
from logui_tx.delivery.ahead import ReadAhead
from logui_tx.delivery.halving import halves
from logui_tx.delivery.passage import Passage
from logui_tx.delivery.progress import Progress
from logui_tx.delivery.source import DeliverySource
from logui_tx.delivery.stateful import StatefulSink
from logui_tx.delivery.stepping import Stepping, letter
from logui_tx.errors import JournalError, NotStored, RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.journal import cursors
from logui_tx.journal.cursors import Cursor, DeadLetter
from logui_tx.model import Position, SinkBatch
from logui_tx.sinks.uri import SinkOptions

log = Logger()

POLL = 1.0
"""Seconds after which a delivery looks whether operators have done something."""

_FIRST_RETRY, _FACTOR = 0.2, 2.0
_LETTERS = 10


class Save(Protocol):
    """Has work done in the journal's next commit; fires when that is on disk, or fails with NotStored."""

    def __call__(self, work: Callable[..., None], *arguments: object) -> Deferred[None]: ...


class SinkDelivery:
    """Delivers to one sink. ``now`` gives UNIX ms; ``begin`` is where a sink begins that is new."""

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], int],
        options: SinkOptions,
        sink: ISink,
        steps: Stepping,
        source: DeliverySource,
        save: Save,
        begin: Position,
    ) -> None:
        self.name = options.name
        self.progress = Progress()
        self._clock = clock
        self._now = now
        self._options = options
        self._sink = StatefulSink(sink, options.kind)
        self._steps = steps
        self._source = source
        self._ahead = ReadAhead(source, options.batch, options.batch_bytes)
        self._save = save
        self._begin: Position | None = begin
        self._generation: int | None = None
        self._attempt = 0
        self._retry_at: float | None = None
        self._letters_failed = 0
        self._letters_at = 0.0
        self._counted = 0
        self._delay = backoffPolicy(_FIRST_RETRY, options.retry_max, _FACTOR, jitter=lambda: 0.0)
        self._stopping = False
        self._draining = False
        self._news = False
        self._sleeping: Deferred[None] | None = None
        self._running: Deferred[None] | None = None

    # --- what others tell

    def start(self) -> None:
        """Begin to deliver."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(
            lambda failure: log.failure("the sink {sink} gets nothing more", failure, sink=self.name)
        )

    def wake(self, events: int) -> None:
        """So many events more are in the journal."""
        self.progress.behind += events
        if events and self.progress.oldest is None:
            self.progress.oldest = self._now()
        self._news = True
        if self._attempt == 0 and not self.progress.paused:
            self._rouse()

    def drain(self) -> Deferred[None]:
        """Fires when everything is delivered that can be: what fails now stays for the next start."""
        self._draining = True
        self._rouse()
        done: Deferred[None] = Deferred()
        if self._running is None:
            done.callback(None)
        else:
            self._running.addBoth(lambda _: done.callback(None))
        return done

    async def stop(self) -> None:
        """Deliver no more, and close the sink."""
        self._stopping = True
        if self._running is not None:
            self._running.cancel()
        await self._sink.close(self._clock)

    # --- rounds

    async def _run(self) -> None:
        while not self._stopping:
            try:
                if not await self._round() and not await self._wait():
                    return
            except GeneratorExit:
                raise
            except BaseException as why:  # noqa: BLE001 - whatever it is, the sink's records wait for a better time
                if self._draining or self._stopping:
                    return
                self._failed(why)

    async def _wait(self) -> bool:
        """Until there may be something to do, or the next attempt is due; False where nothing is left."""
        if self._draining:
            return False
        if self._retry_at is not None:
            await self._wait_to_retry(self._retry_at)
            self._retry_at = None
            return True
        if not self._news or self.progress.paused:
            await self._sleep(POLL)
        if self._news and not self._draining:
            self._news = False
            # What comes now goes with it.
            await self._gather()
        return True

    async def _wait_to_retry(self, until: float) -> None:
        """Or until an operator has done something."""
        before = await self._seen()
        while not self._draining and (left := until - self._clock.seconds()) > 0:
            await self._sleep(min(POLL, left))
            if await self._seen() != before:
                return

    async def _seen(self) -> object:
        """What operators change."""
        try:
            cursor = await self._source.cursor(self.name)
        except JournalError:
            return None
        return cursor and (cursor.generation, cursor.paused, cursor.retry)

    async def _round(self) -> bool:
        """Deliver what comes next; False where there is nothing to be done yet."""
        if self._retry_at is not None:
            return False
        cursor = await self._source.cursor(self.name)
        if cursor is None:
            await self._save(cursors.add, self.name, self._begin or await self._source.end())
            self._begin = None
            return True
        self._begin = None
        await self._look_at(cursor)
        if cursor.paused:
            self._ahead.forget()
            return False
        await self._sink.open(cursor.state)
        if not cursor.retry:
            self._letters_failed, self._letters_at = 0, 0.0
        # A batch that may have been written comes before anything else.
        due = cursor.retry and cursor.pending is None and self._clock.seconds() >= self._letters_at
        retried = due and await self._retry_letters()
        self._news = False
        reading = await self._ahead.read(cursor)
        if reading is None:
            if not self._news:
                self.progress.behind, self.progress.oldest = 0, None
            if not (cursor.retry and self._letters_failed):
                self._well()
            return retried
        self._counted = 0
        self.progress.oldest = reading.received or self.progress.oldest
        if self.progress.behind >= reading.events + self._options.batch:  # sooner it would be a small one
            self._ahead.begin(cursor, reading.batch.after)
        batch, dead = await self._steps.batch(reading.batch)
        if dead:
            log.warn("steps before the sink {sink} failed on {n} records", sink=self.name, n=len(dead))
        if await self._deliver(batch, Passage(cursor, batch.after, [*reading.dead, *dead])):
            self._count(reading.events - self._counted)
        self._well()
        return True

    async def _look_at(self, cursor: Cursor) -> None:
        self.progress.paused = cursor.paused
        self.progress.dead_letters = cursor.dead_letters
        self.progress.delivered = cursor.delivered
        if cursor.generation != self._generation:
            self._generation = cursor.generation
            behind, oldest = await self._source.behind(cursor.position)
            self.progress.behind, self.progress.oldest = behind, oldest

    def _count(self, events: int) -> None:
        self._counted += events
        self.progress.behind = max(0, self.progress.behind - events)

    # --- a batch

    async def _deliver(self, batch: SinkBatch, passage: Passage) -> bool:
        """Write the batch, and save that it is; what is refused in halves.

        Whether it came to its end: operators may pause or move a sink between two halves.
        """
        try:
            # What is prepared is saved with the bounds of the batch, and what is left out of it.
            await self._prepare(batch, cursors.prepared, self.name, *_noted(batch, passage))
            await self._sink.write(batch)
        except RecordsRefused as why:
            if len(batch.records) + len(batch.sessions) > 1:
                for half in halves(batch):
                    if not await self._goes_on(passage.cursor) or not await self._deliver(half, passage):
                        return False
                return True
            log.warn(
                "the sink {sink} refuses a record for good: {why}", sink=self.name, why=str(why), id=batch.id
            )
            refused = batch.records[0] if batch.records else batch.sessions[0]
            passage.dead.append(letter(refused, self._now(), str(why), batch.first))
            batch = evolve(batch, records=(), sessions=())
        await self._move(batch, passage)
        return True

    async def _goes_on(self, cursor: Cursor) -> bool:
        now = await self._source.cursor(self.name)
        return now is not None and not now.paused and now.generation == cursor.generation

    async def _prepare(self, batch: SinkBatch, save: Callable[..., None], *where: object) -> bytes:
        """What the sink notes before it is given the batch; ``save`` is done in the journal with that.

        b"" where there is nothing that it would have to know.
        """
        if not await self._sink.prepare(batch):
            return b""
        await self._save(save, *where, self._sink.state)
        return self._sink.said

    async def _move(self, batch: SinkBatch, passage: Passage) -> None:
        await self._save(cursors.moved, self.name, *_noted(batch, passage), self._sink.state)
        self._sink.saved()
        dead = len(passage.due(batch.after))
        self._count(len(batch.records) + passage.passed(batch.after))
        self.progress.delivered += len(batch.records)
        self.progress.dead_letters += dead

    async def _retry_letters(self) -> bool:
        """Offer dead letters again, each by itself; whether anything became of any."""
        self._ahead.forget()  # it may take minutes, in which a session may be deleted
        settled = False
        for one in await self._source.dead_letters(self.name, _LETTERS):
            try:
                batch = await self._steps.letter(await self._source.read_letter(one))
            except CancelledError:
                raise
            except Exception as why:  # noqa: BLE001 - a step, or the journal: it must not hold the rest
                await self._save(
                    cursors.refused_again, one.number, self._now(), f"not offered: {told.reason(why)}"
                )
                settled = True
                continue
            noted = b""
            try:
                # Its bounds are in the letter itself.
                noted = await self._prepare(batch, cursors.noted, self.name)
                await self._sink.write(batch)
            except RecordsRefused as why:
                await self._save(cursors.refused_again, one.number, self._now(), str(why))
            except (CancelledError, NotStored):
                raise
            except Exception as why:
                # What the sink noted of this one would be gone with the next.
                if noted or self._put_off(why):
                    raise
                return settled
            else:
                await self._save(cursors.taken, one.number, self.name, self._sink.state, len(batch.records))
                self._sink.saved()
            self._letters_failed, settled = 0, True
        return settled

    def _put_off(self, why: Exception) -> bool:
        """A dead letter met an outage: it waits, and the rest goes on, unless the sink said when to come."""
        told_when = told.seconds(why.retry_after) if isinstance(why, SinkAway) else 0.0
        self._letters_failed += 1
        # Not before the batch has had its turn.
        delay = max(2 * told_when, self._delay(self._letters_failed - 1))
        self._letters_at = self._clock.seconds() + delay
        if told_when and not self._draining:
            return True
        self._troubled(why)
        return False

    # --- trouble

    def _failed(self, why: BaseException) -> None:
        """Note it, and when to try again."""
        self._attempt += 1
        self._ahead.forget()
        self._troubled(why)
        # In proportion, so that sinks of many servers do not come at once, nor later than they may.
        delay = self._delay(self._attempt - 1) * uniform(0.5, 1.0)  # noqa: S311
        if isinstance(why, SinkAway):
            delay = max(delay, told.seconds(why.retry_after))
        if isinstance(why, NotStored):
            # What the sink told of itself is not kept: it begins again with what is.
            self._sink.begin_again()
        self._retry_at = self._clock.seconds() + delay

    def _troubled(self, why: BaseException) -> None:
        self.progress.failures += 1
        text = told.text(why)
        if not isinstance(why, SinkAway | JournalError | NotStored):
            text = f"{type(why).__name__}: {text}"
            if self.progress.trouble != text:
                log.failure("the sink {sink} failed", sink=self.name)
        if self.progress.trouble is None:
            log.warn("the sink {sink} takes nothing: {why}", sink=self.name, why=text)
            self.progress.since = self._now()
        if self.progress.trouble != text:
            self.progress.trouble = text
            self._note_trouble()

    def _well(self) -> None:
        self._attempt = 0
        if self.progress.trouble is not None:
            log.info("the sink {sink} takes records again", sink=self.name)
            self.progress.trouble = self.progress.since = None
            self._note_trouble()

    def _note_trouble(self) -> None:
        """For ``logui sink status``; where it cannot be noted, it is not worth more."""
        self._save(cursors.troubled, self.name, self.progress.trouble, self.progress.since).addErrback(
            lambda failure: failure.trap(NotStored)
        )

    # --- time

    async def _sleep(self, seconds: float) -> None:
        """Until there is something to be done, or so long; at most :data:`POLL`, while nothing failed."""
        self._sleeping = Deferred()
        timer = self._clock.callLater(seconds, self._rouse)
        try:
            await self._sleeping
        finally:
            if timer.active():
                timer.cancel()

    async def _gather(self) -> None:
        """Until there is a batch, or what came first has waited long enough, or an operator did something."""
        now = self._clock.seconds()
        until, look = now + self._options.batch_age, now + POLL
        before = await self._seen() if until > look else None
        while not self._draining and self.progress.behind < self._options.batch:
            now = self._clock.seconds()
            if now >= until:
                return
            if now >= look:
                look = now + POLL
                if await self._seen() != before:
                    return
            await self._sleep(min(until, look) - now)

    def _rouse(self) -> None:
        if self._sleeping is not None:
            sleeping, self._sleeping = self._sleeping, None
            sleeping.callback(None)


def _noted(batch: SinkBatch, passage: Passage) -> tuple[int, SinkBatch, Position, list[DeadLetter]]:
    return passage.cursor.generation, batch, passage.until, passage.due(batch.after)
