"""A client's own time as it may be written, to UNIX milliseconds in UTC (PROTOCOL, *Common rules*)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

MAX_TIME = 8_640_000_000_000_000
"""The farthest time either way, in ms: the range of JavaScript's ``Date``."""

_SECONDS_BELOW = 100_000_000_000
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_ISO_8601 = re.compile(r"[\dW-]+[T ][\d:.,]+(Z|[+-][\d:]+)?", re.ASCII)
# Years beyond those of datetime, as ECMAScript writes them; there is no year -000000.
_FAR_YEAR = re.compile(r"(0000|\+\d{6}|-(?!000000)\d{6})(?=-)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
_CYCLE = 146_097 * 86_400
"""The calendar repeats every 400 years, which are so many seconds."""
_MAX_TEXT = 400
_USUAL_LENGTH = len("2026-11-22T00:10:26.888Z")


def to_milliseconds(time: float | str) -> int | None:
    """UNIX ms of ``time``, or None where it is malformed.

    A number, or a string that is one, is seconds below 1e11 and ms from there on; a string with a ``T`` or
    a space between date and time is ISO 8601, in UTC where it names no zone.
    """
    if isinstance(time, str):
        moment = usual(time)
        if moment is not None:
            return (moment - _EPOCH) // _MILLISECOND
        if len(time) > _MAX_TEXT:
            return None
        if not _NUMBER.fullmatch(time):
            return _from_iso_8601(time)
        time = float(time)
    if time < _SECONDS_BELOW:
        time *= 1000
    return round(time) if -MAX_TIME <= time <= MAX_TIME else None


def usual(time: str) -> datetime | None:
    """The moment, where it is written as ``Date.prototype.toISOString()`` writes nearly all.

    Of a text of this length, with these marks at their places, ``datetime`` takes no other than the long way
    does; it would stop at a Z that comes before.
    """
    if len(time) != _USUAL_LENGTH or time[10:20:3] != "T::." or time.find("Z") != _USUAL_LENGTH - 1:
        return None
    try:
        return datetime.fromisoformat(time)
    except ValueError:
        return None


def to_iso_8601(milliseconds: int) -> str:
    """``2026-11-22T00:10:26.888Z``: UTC with milliseconds.

    Outside the years 0 to 9999 the year has a sign and six digits, as ECMAScript writes it.
    """
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_to_the_second(seconds)}.{rest:03d}Z"


# What is exported side by side was received side by side.
@lru_cache(256)
def _to_the_second(seconds: int) -> str:
    try:
        return (_PLAIN_EPOCH + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        # Shift into datetime's range, then name the true year.
        cycles = seconds // _CYCLE
        inside = _PLAIN_EPOCH + timedelta(seconds=seconds - cycles * _CYCLE)
        year = inside.year + 400 * cycles
        rest = inside.isoformat()[4:]
        return f"{year:+07d}{rest}" if year else f"0000{rest}"


def _from_iso_8601(text: str) -> int | None:
    cycles = 0
    if far := _FAR_YEAR.match(text):
        cycles, year = divmod(int(far[1]) - 2000, 400)
        text = f"{2000 + year}{text[far.end() :]}"
    if not _ISO_8601.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    time = (moment - _EPOCH) // _MILLISECOND + cycles * _CYCLE * 1000
    return time if -MAX_TIME <= time <= MAX_TIME else None
