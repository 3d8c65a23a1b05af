"""What sinks tell, taken with care: they may be anybody's."""

from __future__ import annotations

from math import inf

from logui_tx.errors import LoguiError
from logui_tx.interfaces import ISink, ISinkToldOfSaves

MAX_STATE = 1024 * 1024
"""Bytes of a sink's own state: it is written with every batch, by the journal's only writer."""
_LONGEST_WAIT = 3600.0


def checked_state(state: object, kind: str) -> bytes:
    """The state of a sink of this kind as it is saved, if it may be: what cannot be would keep pages' events
    from being stored."""
    if not isinstance(state, bytes):
        raise TypeError(f"the sink's state is of type {type(state).__name__}, not bytes")
    if len(state) > MAX_STATE:
        raise ValueError(f"the sink's state has {len(state)} bytes, more than {MAX_STATE}")
    return b"\0%b\0%b" % (kind.encode(), state)


def own_state(saved: bytes, kind: str) -> bytes:
    """What a sink of this kind said itself. Where another kind had its name before, it is nothing: none
    understands another's."""
    if not saved.startswith(b"\0"):
        # From when the kind was not noted.
        return saved
    before, _, state = saved[1:].partition(b"\0")
    return state if before == kind.encode() else b""


def saved(sink: ISink) -> None:
    """Tell the sink, if it is one that must know, that its state is saved."""
    if ISinkToldOfSaves.providedBy(sink):
        ISinkToldOfSaves(sink).saved()


def seconds(told: object) -> float:
    """What a sink says of when to come again, within reason."""
    usable = isinstance(told, int | float) and 0 < told < inf
    return min(float(told), _LONGEST_WAIT) if usable else 0.0  # type: ignore[arg-type]


def reason(why: Exception) -> str:
    """What a dead letter may say of it: only our own errors hold nothing of the record."""
    return text(why) if isinstance(why, LoguiError) else type(why).__name__


def text(why: BaseException) -> str:
    try:
        return str(why) or type(why).__name__
    except Exception:  # noqa: BLE001 - somebody else's
        return type(why).__name__
