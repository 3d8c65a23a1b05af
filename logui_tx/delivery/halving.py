"""A batch that was refused, in two halves."""

from __future__ import annotations

from attrs import evolve

from logui_tx.model import Position, Record, Session, SinkBatch


def halves(batch: SinkBatch) -> tuple[SinkBatch, SinkBatch]:
    """Two batches that say the same one after the other. Sessions go before, as they stand by now anyway."""
    items: list[Session | Record] = [*batch.sessions, *batch.records]
    middle = len(items) // 2
    if middle < len(batch.sessions):
        # They have no place of their own: the first half ends where it begins.
        return (
            SinkBatch(batch.journal_id, batch.first, batch.first, (), batch.sessions[:middle]),
            evolve(batch, sessions=batch.sessions[middle:]),
        )
    cut = middle - len(batch.sessions)
    if cut == 0:
        return (
            SinkBatch(batch.journal_id, batch.first, batch.first, (), batch.sessions),
            evolve(batch, sessions=()),
        )
    between: Position = batch.records[cut].position
    return (
        SinkBatch(batch.journal_id, batch.first, between, batch.records[:cut], batch.sessions),
        SinkBatch(batch.journal_id, between, batch.after, batch.records[cut:]),
    )
