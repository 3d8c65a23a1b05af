"""What dialects share: a JSON value as a text or a time, an event's time, the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Annotated, cast

import msgspec
from msgspec import Meta

from logui_tx.dialects import json_text
from logui_tx.dialects.json_text import BadJSON
from logui_tx.dialects.times import MAX_TIME, to_milliseconds, usual
from logui_tx.model import Close, Event, EventColumns

HITS = 5
"""This many bad requests end a connection."""
MAX_REFERRER = 8192
MAX_EXACT = 65_536
"""Of a larger message that is refused, the copy of a bad event may have U+FFFD for a lone surrogate: reading
them exactly is slow, and others would wait."""
TOO_LARGE = Close(1009)
"""How a connection ends on which a message past the size limit came, as WebSocket has it."""
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for what is not JSON, or not of the expected kind."""

# Below 0 they are seconds.
Time = Annotated[int, Meta(ge=-MAX_TIME // 1000, le=MAX_TIME)] | float | str
"""As what msgspec reads a time."""

# A number from here on is a time in ms, whatever more the rules of times.py say.
_SURELY_MILLISECONDS = 10**12

_read_time = msgspec.json.Decoder(int | float | str).decode
_read_text = msgspec.json.Decoder(str).decode


def text(written: bytes) -> str | None:
    """A JSON string's text; None where it is something else or not valid Unicode."""
    try:
        return _read_text(written)
    except UNREADABLE:
        return None


def short_text(written: bytes, key: str, longest: int, error: Callable[[str], Exception]) -> str:
    """A JSON string's text; raises ``error`` where it is something else or too long."""
    found = text(written)
    if found is None or len(found) > longest:
        raise error(f"'{key}' must be a string of at most {longest} characters.")
    return found


def time(written: bytes) -> int | None:
    """A JSON value as a time in ms; None where it is malformed."""
    try:
        return to_milliseconds(_read_time(written))
    except UNREADABLE:
        return None


def event_time(event: bytes, key: str) -> int | None:
    """An event's time in ms; None where it is not an object or has no valid time at ``key``."""
    try:
        written = json_text.members(event).get(key)
    except BadJSON:
        return None
    return None if written is None else time(written)


def are_times(stamps: Iterable[float | str]) -> bool:
    """Whether all of them are valid times, as far as :data:`Time` does not tell."""
    for stamp in stamps:
        if type(stamp) is int:
            continue
        if type(stamp) is str and usual(stamp) is not None:
            continue
        if to_milliseconds(stamp) is None:
            return False
    return True


def events(columns: EventColumns) -> list[Event]:
    """Each by itself."""
    return list(map(Event, map(bytes, columns.raw), columns.times, columns.app_data or repeat(None)))


def milliseconds(stamps: list[float | str]) -> Sequence[int | None]:
    """Each of these times in ms."""
    # Nearly all are in ms already, and an export reads millions: without a loop of Python's.
    if set(map(type, stamps)) == {int}:
        whole = cast(list[int], stamps)
        if min(whole) >= _SURELY_MILLISECONDS and max(whole) <= MAX_TIME:
            return whole
    return [to_milliseconds(stamp) for stamp in stamps]
