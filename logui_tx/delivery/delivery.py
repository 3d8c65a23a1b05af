"""One sink's delivery: from its cursor on, batch by batch, for as long as the server runs.

::

    read a batch -> steps -> prepare, save the bounds -> write -> save the cursor -> ...
                                                          |
                      away: again after a while <---------+---------> refused: in halves, down to
                                                                      what cannot be taken: a dead letter

Every round looks at the cursor as the journal has it: operators may have paused or moved it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import uniform
from typing import Protocol

from attrs import evolve
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from logui_tx.delivery import told
from logui_tx.delivery.halving import halves
from logui_tx.delivery.progress import Progress
from logui_tx.delivery.source import DeliverySource
from logui_tx.errors import JournalError, NotStored, RecordsRefused, SinkAway
from logui_tx.interfaces import ISink, IStep
from logui_tx.journal import cursors
from logui_tx.journal.cursors import Cursor, DeadLetter
from logui_tx.model import Position, Record, Session, SinkBatch
from logui_tx.sinks.uri import SinkOptions

log = Logger()

POLL = 1.0
"""Seconds after which a delivery looks whether operators have done something."""

_FIRST_RETRY = 0.2
_FACTOR = 2.0
_LETTERS = 10
_CLOSING = 5.0
_NOWHERE = Position()


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
        steps: Sequence[IStep],
        source: DeliverySource,
        save: Save,
        begin: Position,
    ) -> None:
        self.name = options.name
        self.progress = Progress()
        self._clock = clock
        self._now = now
        self._options = options
        self._sink = sink
        self._steps = steps
        self._source = source
        self._save = save
        self._begin: Position | None = begin
        self._open = False
        self._state = b""
        self._generation: int | None = None
        self._attempt = 0
        self._retry_at: float | None = None
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
        closing = maybeDeferred(self._sink.close)
        # Whatever is at the other end, the server stops.
        closing.addTimeout(_CLOSING, self._clock, lambda _result, _seconds: None)
        await _quietly(closing)

    # --- rounds

    async def _run(self) -> None:
        while not self._stopping:
            try:
                if not await self._round() and not await self._wait():
                    return
            except Exception as why:  # noqa: BLE001 - whatever it is, the sink's records wait for a better time
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
            await self._pause(self._options.batch_age)
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
        return cursor and (cursor.generation, cursor.paused, cursor.retries)

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
            return False
        if not self._open:
            await self._sink.open(told.own_state(cursor.state, self._options.kind))
            self._open, self._state = True, cursor.state
        # A batch that may have been written comes before anything else.
        retried = bool(cursor.retries) and cursor.pending is None and await self._retry_letters()
        self._news = False
        reading = await self._source.read(cursor, self._options.batch, self._options.batch_bytes)
        if reading is None:
            if not self._news:
                self.progress.behind, self.progress.oldest = 0, None
            self._well()
            return retried
        self._counted = 0
        self.progress.oldest = reading.received or self.progress.oldest
        await self._deliver(cursor, await self._through_steps(reading.batch))
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

    async def _through_steps(self, batch: SinkBatch) -> SinkBatch:
        """What is left of the batch; a record with which a step cannot do is a dead letter."""
        if not self._steps:
            return batch
        left, dead = [], []
        for record in batch.records:
            try:
                found = self._through_each(record)
            except Exception as why:  # noqa: BLE001 - one record must not hold the rest
                dead.append(self._letter(record, f"a step failed: {told.reason(why)}"))
            else:
                left += [found] if found is not None else []
        sessions = []
        for session in batch.sessions:
            try:
                sessions.append(self._session_through_each(session))
            except Exception as why:  # noqa: BLE001 - nor must one session
                dead.append(self._letter(session, f"a step failed: {told.reason(why)}", batch.first))
        if dead:
            log.warn("steps before the sink {sink} failed on {n} records", sink=self.name, n=len(dead))
            await self._save(cursors.refused, self.name, dead)
        return evolve(batch, records=tuple(left), sessions=tuple(sessions))

    def _through_each(self, record: Record) -> Record | None:
        found: Record | None = record
        for step in self._steps:
            if found is not None:
                found = step.record(found)
        return found

    def _session_through_each(self, session: Session) -> Session:
        for step in self._steps:
            session = step.session(session)
        return session

    async def _deliver(self, cursor: Cursor, batch: SinkBatch) -> None:
        """Write the batch, and save that it is; what is refused in halves."""
        try:
            # What is prepared is saved with the bounds of the batch.
            await self._write(batch, cursors.prepared, self.name, cursor.generation, batch.after)
        except RecordsRefused as why:
            if len(batch.records) + len(batch.sessions) > 1:
                for half in halves(batch):
                    await self._deliver(cursor, half)
                return
            log.warn(
                "the sink {sink} refuses a record for good: {why}", sink=self.name, why=str(why), id=batch.id
            )
            refused = batch.records[0] if batch.records else batch.sessions[0]
            await self._move(cursor, batch, 0, self._letter(refused, str(why), batch.first))
            self.progress.dead_letters += 1
        else:
            await self._move(cursor, batch, len(batch.records))
            self.progress.delivered += len(batch.records)

    async def _write(self, batch: SinkBatch, save: Callable[..., None], *where: object) -> None:
        """``save`` is done in the journal with ``where`` and what the sink prepares."""
        if not batch.records and not batch.sessions:
            return
        preparing = self._sink.prepare(batch)
        if preparing is not None:
            self._state = told.checked_state(await preparing, self._options.kind)
            await self._save(save, *where, self._state)
        self._state = told.checked_state(await self._sink.write(batch), self._options.kind)

    async def _move(self, cursor: Cursor, batch: SinkBatch, delivered: int, *dead: DeadLetter) -> None:
        await self._save(
            cursors.moved, self.name, cursor.generation, batch.after, self._state, delivered, dead
        )
        told.saved(self._sink)
        self._count(delivered + len(dead))

    def _letter(self, refused: Record | Session, why: str, place: Position = _NOWHERE) -> DeadLetter:
        if isinstance(refused, Session):
            return DeadLetter(place.segment, None, refused.id, self._now(), why)
        at = refused.position
        return DeadLetter(at.segment, at.event, refused.session_id, self._now(), why)

    async def _retry_letters(self) -> bool:
        """Offer dead letters again, each by itself; whether there were any."""
        letters = await self._source.dead_letters(self.name, _LETTERS)
        for letter in letters:
            try:
                batch = await self._source.read_letter(letter)
                left = tuple(found for one in batch.records if (found := self._through_each(one)) is not None)
                sessions = tuple(map(self._session_through_each, batch.sessions))
            except CancelledError:
                raise
            except Exception as why:  # noqa: BLE001 - a step, or the journal: it must not hold the rest
                await self._save(
                    cursors.refused_again, letter.number, self._now(), f"not offered: {told.reason(why)}"
                )
                continue
            try:
                # Its bounds are in the letter itself.
                await self._write(evolve(batch, records=left, sessions=sessions), cursors.noted, self.name)
            except RecordsRefused as why:
                await self._save(cursors.refused_again, letter.number, self._now(), str(why))
            else:
                await self._save(cursors.taken, letter.number, self.name, self._state, len(left))
                told.saved(self._sink)
        return bool(letters)

    # --- trouble

    def _failed(self, why: Exception) -> None:
        """Note it, and when to try again."""
        self._attempt += 1
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
        # In proportion, so that sinks of many servers do not come at once, nor later than they may.
        delay = self._delay(self._attempt - 1) * uniform(0.5, 1.0)  # noqa: S311
        if isinstance(why, SinkAway):
            delay = max(delay, told.seconds(why.retry_after))
        if isinstance(why, NotStored):
            # What the sink told of itself is not kept: it begins again with what is.
            self._open = False
        self._retry_at = self._clock.seconds() + delay

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

    async def _pause(self, seconds: float) -> None:
        """So long, whatever comes; less only when the server stops."""
        until = self._clock.seconds() + seconds
        while not self._draining and (left := until - self._clock.seconds()) > 0:
            await self._sleep(left)

    def _rouse(self) -> None:
        if self._sleeping is not None:
            sleeping, self._sleeping = self._sleeping, None
            sleeping.callback(None)


async def _quietly(closing: Deferred[None]) -> None:
    try:
        await closing
    except Exception:  # noqa: BLE001 - it is over in any case
        log.failure("a sink could not be closed")
