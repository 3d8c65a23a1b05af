"""A session at rest: all that is needed to go on with it."""

from __future__ import annotations

from typing import Any

import msgspec


class SessionState(msgspec.Struct, frozen=True):
    """``row`` is the session's :class:`SessionRow` as a dict, ``number`` and ``version`` are the journal's.

    ``app_data`` is encoded. By instance, ``payload_ids`` holds the last stored payloadID, ``refused`` those
    that have to come again before any above them.
    """

    row: dict[str, Any]
    number: int
    version: int
    last_activity: int
    last_seq: int
    app_data: bytes
    payload_ids: dict[str, int]
    end_reason: str | None = None
    refused: dict[str, list[int]] = {}
