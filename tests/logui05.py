"""LogUI 0.5 as its client writes it."""

from __future__ import annotations

from typing import Any

T = 1_795_306_226_888
STAMP = "2026-11-22T00:10:26.888Z"
MISSING = object()
"""Leaves a member out."""


def _members(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if value is not MISSING}


def message(kind: str, payload: Any = None) -> dict[str, Any]:
    return _members({"sender": "logUIClient", "type": kind, "payload": payload})


def handshake(token: str, **changes: Any) -> dict[str, Any]:
    told = {
        "clientVersion": "0.5.4a",
        "authorisationToken": token,
        "pageOrigin": "http://localhost",
        "userAgent": "Agent",
        "clientTimestamp": STAMP,
        **changes,
    }
    return message("handshake", _members(told))


def item(**changes: Any) -> dict[str, Any]:
    """A custom event."""
    told = {
        "eventType": "customEvent",
        "eventDetails": {"n": 1},
        "sessionID": None,
        "timestamps": {"eventTimestamp": STAMP, "sinceSessionStartMillis": 1, "sinceLogUILoadMillis": 1},
        "applicationSpecificData": {"user": 1},
        **changes,
    }
    return _members(told)


ITEM = item()
MARKER = item(eventType="statusEvent", eventDetails={"type": "applicationSpecificDataUpdated"})
"""The application-specific data was updated here."""


def events(*items: Any) -> dict[str, Any]:
    return message("logEvents", {"length": len(items), "items": list(items)})
