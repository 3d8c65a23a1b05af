"""What the intake hands to the journal: one entry a thing that happened to a session."""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import define, frozen

from logui_tx.journal.segment import Kind
from logui_tx.journal.work import Work


@frozen
class SessionRow:
    """What the table ``session`` holds of a session besides its number, in that order; written once.

    ``started_at`` is by the server's clock, ``client_started_at`` by the client's at its first
    handshake, where that tells.
    """

    id: str
    flight_id: str
    application_id: str
    dialect: str
    started_at: int
    user_agent: str | None = None
    origin: str | None = None
    referrer: str | None = None
    device: str | None = None
    visitor_id: str | None = None
    client_started_at: int | None = None


@define(eq=False)
class SessionHandle:
    """A live session's place in the journal. ``row`` is given; the rest belongs to the writer's thread.

    ``number`` is None until the session's row is written, and given where the journal knew the session
    before; ``open`` tells whether the journal holds it for open; ``app_data`` are the bytes of ``version``.
    """

    row: SessionRow
    number: int | None = None
    open: bool = False
    app_data: bytes | None = None
    version: int = 0


class Entry(msgspec.Struct, eq=False):
    """One thing to be made durable. ``kind`` None asks only to be told when all before it is settled.

    ``work`` is done in the commit instead, and may fail without it. An entry with work belongs to no epoch.

    ``app_data`` is the whole application-specific data in force, encoded.
    ``epoch`` numbers the times at which the intake began anew after a failure: an entry of an epoch that
    has failed is refused, because it was stamped on top of what did not get stored.
    ``refused`` is given where that changed: by instance, the payloadIDs that have to come again, encoded.
    ``context`` is its maker's own and comes back with the entry.
    """

    kind: Kind | None
    handle: SessionHandle
    received: int
    app_data: bytes
    epoch: int
    message: bytes = b""
    first_seq: int = 0
    count: int = 0
    clock_offset: int | None = None
    payload_id: int | None = None
    instance: str = ""
    end_reason: str | None = None
    refused: bytes | None = None
    context: Any = None
    work: Work | None = None

    @property
    def size(self) -> int:
        """Bytes that it brings to the journal at most; a small change may bring large data."""
        return len(self.message) if self.kind is Kind.EVENTS else len(self.app_data)
