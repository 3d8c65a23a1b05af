"""All sinks of a server: made from their URIs, started, told of what is stored, stopped."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from logui_tx.delivery.delivery import SinkDelivery
from logui_tx.delivery.find import make_steps, sink_makers, step_makers
from logui_tx.delivery.progress import LEFT_BEHIND, Progress
from logui_tx.delivery.source import DeliverySource
from logui_tx.delivery.stepping import Stepping
from logui_tx.errors import BadOption, JournalError, NotStored
from logui_tx.interfaces import ISink, ISinkMaker, IStep
from logui_tx.journal import cursors
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.work import Work
from logui_tx.model import Position, SinkURI
from logui_tx.sinks.uri import SinkOptions, read_uri
from logui_tx.threads import daemon_pool

log = Logger()

_T = TypeVar("_T")
_NOBODY = SessionHandle(SessionRow("", "", "", "", 0))


@frozen
class _Made:
    scheme: str
    options: SinkOptions
    sink: ISink
    steps: list[IStep]


class Deliveries:
    """``append`` hands an entry to the journal."""

    def __init__(
        self, reactor: Any, data_dir: Path, uris: Sequence[str], append: Callable[[Entry], None]
    ) -> None:
        """Raises :class:`BadOption` where a URI does not do."""
        self._reactor = reactor
        self._data_dir = data_dir
        self._append = append
        self._made = make_sinks(uris, reactor)
        self._source: DeliverySource | None = None
        self._now: Callable[[], int]
        self._deliveries: list[SinkDelivery] = []
        self._drained: Deferred[Any] | None = None
        # A sink's steps hold up nobody else's.
        self._threads = daemon_pool("steps", max(1, len(self._made)))

    def start(self, end: Position, now: Callable[[], int]) -> None:
        """Begin to deliver. The journal is writing by now, and ends at ``end`` yet; ``now`` gives UNIX ms."""
        self._source = DeliverySource(self._reactor, self._data_dir)
        self._now = now
        names = [made.options.name for made in self._made]
        self._save(cursors.configure, names).addErrback(lambda failure: failure.trap(NotStored))
        self._source.left_behind(names).addCallbacks(
            _warn_of_left_behind, lambda failure: failure.trap(JournalError)
        )
        for made in self._made:
            delivery = SinkDelivery(
                self._reactor,
                now,
                made.options,
                made.sink,
                Stepping(made.steps, self._in_thread, now),
                self._source,
                self._save,
                Position() if made.options.start == "beginning" else end,
            )
            self._deliveries.append(delivery)
            delivery.start()

    def settled(self, entries: Sequence[Entry], error: NotStored | None) -> list[Entry]:
        """What the journal settled: takes its own out, and tells all sinks of the rest."""
        others = [entry for entry in entries if entry.work is None]
        if len(others) < len(entries):
            for entry in entries:
                if entry.work is not None and not entry.context.called:
                    why = error or entry.work.failed
                    entry.context.callback(None) if why is None else entry.context.errback(why)
        if error is None and others:
            events = sum(entry.count for entry in others)
            for delivery in self._deliveries:
                delivery.wake(events)
        return others

    def progress(self) -> dict[str, Progress]:
        """How each is, by its name."""
        return {delivery.name: delivery.progress for delivery in self._deliveries}

    def late(self, alarm: float) -> list[str]:
        """Of each sink that is further behind than ``alarm`` (seconds), how far it is.

        Read by anybody: no places, no texts of the other end.
        """
        found = []
        for number, (made, delivery) in enumerate(zip(self._made, self._deliveries, strict=True), 1):
            progress = delivery.progress
            kind = f"sink {number} ({made.scheme})"
            lag = progress.lag(self._now())
            if not progress.paused and lag > alarm:
                found.append(f"{kind} is {lag:.0f} s and {progress.behind} events behind")
        return found

    async def stop(self, timeout: float) -> None:
        """Deliver what is left, for ``timeout`` seconds at most, and close everything."""
        drained = DeferredList([delivery.drain() for delivery in self._deliveries], consumeErrors=True)
        drained.addTimeout(timeout, self._reactor, onTimeoutCancel=lambda _result, _timeout: None)
        self._drained = drained
        await drained
        stops = [Deferred.fromCoroutine(delivery.stop()) for delivery in self._deliveries]
        await DeferredList(stops, consumeErrors=True)
        if self._source is not None:
            await self._source.stop()
        if self._threads.started:
            # Which waits for its threads: for a step that never comes back nobody does.
            Thread(target=self._threads.stop, daemon=True).start()

    def hurry(self) -> None:
        """Do not wait for sinks any longer."""
        if self._drained is not None:
            self._drained.cancel()

    def _in_thread(self, do: Callable[..., _T], *arguments: Any) -> Deferred[_T]:
        if not self._threads.started:
            self._threads.start()
        doing: Deferred[_T] = deferToThreadPool(self._reactor, self._threads, do, *arguments)
        return doing

    def _save(self, work: Callable[..., None], *arguments: object) -> Deferred[None]:
        def do(connection: sqlite3.Connection) -> None:
            work(connection, *arguments)

        saved: Deferred[None] = Deferred()
        self._append(Entry(None, _NOBODY, 0, b"", epoch=0, context=saved, work=Work(do)))
        return saved


def _warn_of_left_behind(found: Sequence[tuple[str, int]]) -> None:
    for name, behind in found:
        log.warn(
            "the sink {sink} is not configured, and {behind} events behind: {remedy}",
            sink=name,
            behind=behind,
            remedy=LEFT_BEHIND,
        )


def make_sinks(uris: Sequence[str], reactor: Any) -> list[_Made]:
    """The sinks of these URIs. Raises :class:`BadOption`."""
    makers, steps = sink_makers(), step_makers()
    made: list[_Made] = []
    for uri in uris:
        maker, read, options = read_uri(uri, makers)
        if any(options.name == one.options.name for one in made):
            raise BadOption(f"sink: two are named {options.name!r}: give one another name with ?name=")
        made.append(_Made(read.scheme, options, _make(maker, read, reactor), make_steps(options.step, steps)))
    return made


def _make(maker: ISinkMaker, uri: SinkURI, reactor: Any) -> ISink:
    try:
        return maker.make(uri, reactor)
    except BadOption:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's; what it says may hold the password
        raise BadOption(f"sink: {uri.scheme}: cannot be made: {type(error).__name__}") from None
