"""What a flight may be set to for the dialect kraken: listeners, sampling, metadata. Pure.

Each function gives the form that is kept, or raises :class:`InvalidSetting`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

from logui_tx.errors import InvalidSetting
from logui_tx.model import LISTENERS

MAX_METADATA = 16 * 1024
"""Bytes of a flight's metadata, without the white space between its tokens."""

MAX_SAMPLE_MOVES = 60 * 60 * 1000
"""The longest time between two mouse moves, in ms."""


def checked_listeners(names: Iterable[str]) -> tuple[str, ...]:
    """The listeners in the order of :data:`LISTENERS`, each once; none at all is allowed."""
    asked = set(names)
    for name in sorted(asked.difference(LISTENERS)):
        close = difflib.get_close_matches(name.lower(), LISTENERS, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        shown = ascii(name if len(name) <= 100 else name[:100] + "...")
        raise InvalidSetting(f"there is no listener {shown}{hint}; there are: {', '.join(LISTENERS)}")
    return tuple(name for name in LISTENERS if name in asked)


def checked_sample_moves(milliseconds: int) -> int:
    """The least time between two mouse moves in ms; 0 is every move."""
    if not 0 <= milliseconds <= MAX_SAMPLE_MOVES:
        raise InvalidSetting(f"the time between two mouse moves is 0 to {MAX_SAMPLE_MOVES // 1000} seconds")
    return milliseconds


def checked_metadata(text: str) -> str:
    """The text of a JSON object, without the white space between its tokens; numbers stay as written."""
    try:
        content = text.encode()
    except UnicodeEncodeError:  # Python's sign for an argument that it could not decode
        raise InvalidSetting("the metadata must be text in the encoding of the terminal") from None
    try:
        value = msgspec.json.decode(content)
        kept = msgspec.json.format(content, indent=-1)
    except msgspec.DecodeError as error:
        raise InvalidSetting(f"the metadata is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidSetting("the metadata is nested too deeply") from None
    if not isinstance(value, dict):
        raise InvalidSetting('the metadata must be a JSON object, such as {"condition": "A"}')
    if len(kept) > MAX_METADATA:
        raise InvalidSetting(f"the metadata has {len(kept)} bytes, {MAX_METADATA} are allowed")
    return kept.decode()
