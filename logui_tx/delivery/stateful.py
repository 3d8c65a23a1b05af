"""A sink, and what it told of itself last: that is saved with whatever it was told for."""

from __future__ import annotations

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from logui_tx.delivery import told
from logui_tx.interfaces import ISink
from logui_tx.model import SinkBatch

log = Logger()

_CLOSING = 5.0


class StatefulSink:
    """``state`` is what the sink fired with last, as it is saved: with the sink's ``kind``."""

    def __init__(self, sink: ISink, kind: str) -> None:
        self.state = b""
        self._sink = sink
        self._kind = kind
        self._open = False

    @property
    def said(self) -> bytes:
        """The state in the sink's own words."""
        return told.own_state(self.state, self._kind)

    async def open(self, state: bytes) -> None:
        """Unless it is open; ``state`` is as it was saved."""
        if not self._open:
            await self._sink.open(told.own_state(state, self._kind))
            self._open, self.state = True, state

    def begin_again(self) -> None:
        """What it told since could not be saved: next time it is opened with what was."""
        self._open = False

    async def prepare(self, batch: SinkBatch) -> bool:
        """Whether it prepared anything: then its state is to be saved before it is given the batch."""
        preparing = self._sink.prepare(batch) if batch.records or batch.sessions else None
        if preparing is None:
            return False
        self.state = told.checked_state(await preparing, self._kind)
        return True

    async def write(self, batch: SinkBatch) -> None:
        """Of an empty batch it is not told."""
        if batch.records or batch.sessions:
            self.state = told.checked_state(await self._sink.write(batch), self._kind)

    def saved(self) -> None:
        """The state is, with the end of what was written."""
        told.saved(self._sink)

    async def close(self, clock: IReactorTime) -> None:
        """Never fails, and takes a few seconds at most."""
        closing: Deferred[None] = maybeDeferred(self._sink.close)
        # Whatever is at the other end, the server stops.
        closing.addTimeout(_CLOSING, clock, lambda _result, _seconds: None)
        try:
            await closing
        except Exception:  # noqa: BLE001 - it is over in any case
            log.failure("a sink could not be closed")
