"""A session while it has sockets: where it stands with what arrived, and where on disk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import define, field

from logui_tx.app_data import AppData
from logui_tx.journal.entry import SessionHandle
from logui_tx.model import EndReason
from logui_tx.numbers import Numbers

_encode = msgspec.json.Encoder().encode


@define(eq=False)
class Standing:
    """Where a session stands: the last sequence number, the data in force, the last payloadID by instance."""

    last_seq: int = 0
    app_data: AppData = field(factory=AppData)
    payload_ids: dict[str, int] = field(factory=dict)


@define(eq=False)
class LiveSession:
    """A session that has sockets, or something in flight.

    ``now`` is how it stands with everything that arrived, ``committed`` how it stands on disk.
    ``refused`` holds, by instance and rising, the payloadIDs that could not be stored and have not come again
    since: while there is one, none above it is stored, or it would be taken for a repeat when it comes
    (PROTOCOL, *Sending twice*).
    ``numbers`` are the sequence numbers that may be given here; ``neighbours`` the other servers that have
    sockets of the session, as far as is known.
    """

    id: str
    flight_id: str
    handle: SessionHandle
    last_activity: int
    now: Standing = field(factory=Standing)
    committed: Standing = field(factory=Standing)
    refused: dict[str, list[int]] = field(factory=dict)
    refused_on_disk: bytes | None = None
    sockets: set[Any] = field(factory=set)
    in_flight: int = 0
    end_reason: EndReason | None = None
    numbers: Numbers = field(factory=Numbers.any)
    neighbours: set[str] = field(factory=set)
    reserving: bool = False
    told: int = 0
    looking: bool = False

    def roll_back(self) -> None:
        """Forget what did not get stored."""
        self.now = Standing(
            self.committed.last_seq, self.committed.app_data, dict(self.committed.payload_ids)
        )

    def refused_to_write(self) -> bytes | None:
        """What is refused, encoded, where the journal was not given it yet: a restart must not forget it.

        Asked where something is refused, or was.
        """
        encoded = _encode({instance: ids for instance, ids in self.refused.items() if ids})
        if encoded == self.refused_on_disk:
            return None
        self.refused_on_disk = encoded
        return encoded

    def refuse(self, instance: str, payload_id: int) -> None:
        """Note that this payload has to come again before any above it."""
        ids = self.refused.setdefault(instance, [])
        at = bisect_left(ids, payload_id)
        if ids[at : at + 1] != [payload_id]:
            ids.insert(at, payload_id)

    def learn(self, payload_ids: Mapping[str, int], refused: Mapping[str, Sequence[int]]) -> None:
        """What other servers stored and refused of the session meanwhile."""
        for standing in (self.now, self.committed):
            for instance, last in payload_ids.items():
                standing.payload_ids[instance] = max(last, standing.payload_ids.get(instance, 0))
        for instance, ids in refused.items():
            for payload_id in ids:
                self.refuse(instance, payload_id)
        for instance, ids in self.refused.items():
            # One that another server stored does not come again.
            ids[:] = [each for each in ids if each > self.now.payload_ids.get(instance, 0)]
