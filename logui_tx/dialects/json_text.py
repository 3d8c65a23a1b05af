"""JSON as bytes: its members and elements as the sender wrote them, and what the protocol forbids in it.

msgspec reads everything but one thing that browsers really send: ``JSON.stringify`` writes a text cut
through an emoji as a lone surrogate (``"\\ud83d"``), which is JSON by RFC 8259. Such a text takes the
slow way through the standard library here, so that it is kept like any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import accumulate
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NoReturn

import msgspec

MAX_DEPTH = 512
"""Nesting deeper than this is bad JSON (PROTOCOL, *Common rules*)."""

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'{}[]"'))
_ALIKE = bytes.maketrans(b"[]", b"{}")
_STEPS = bytes.maketrans(b"{}", bytes((1, 255)))
_SHALLOW = 16
"""Levels that are looked at all at once; few texts have more, and those are read bracket by bracket."""
_SPACE = re.compile(r"[ \t\n\r]*")


_HEX = rb"[0-9a-fA-F]{2}"
_PAIR_OR_LONE = re.compile(
    rb"\\\\|\\u[dD][89abAB]%b\\u[dD][c-fC-F]%b|(\\u[dD][89a-fA-F]%b)" % (_HEX, _HEX, _HEX)
)


class BadJSON(ValueError):
    """Not JSON as the protocol understands it; the text says where."""


class TooMany(ValueError):
    """An array has more elements than allowed; ``count`` is how many."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} elements")
        self.count = count


def members(text: bytes) -> dict[str, bytes]:
    """An object's members, each value as it was written; of equal keys the last counts.

    Raises :class:`BadJSON`, also where ``text`` is JSON of another kind.
    """
    try:
        return {key: bytes(value) for key, value in _MEMBERS.decode(text).items()}
    except msgspec.ValidationError:
        raise BadJSON("a JSON object is expected") from None
    except msgspec.DecodeError as error:
        if not _SURROGATE.search(text):
            raise BadJSON(str(error)) from None
    except RecursionError:
        raise BadJSON("the nesting is too deep") from None
    except UnicodeDecodeError:
        raise BadJSON("the text is not valid UTF-8") from None
    return dict(pairs(text))


def pairs(text: bytes) -> list[tuple[str, bytes]]:
    """An object's members in their order, also where keys are equal; otherwise as :func:`members`."""

    def member(text: str, at: int) -> tuple[str, bytes, int]:
        if text[at : at + 1] != '"':
            raise BadJSON(f"a key is expected (character {at})")
        key, at = scanstring(text, at + 1, True)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise BadJSON(f"':' is expected (character {at})")
        start = _skip(text, at + 1)
        _, end = _reader.raw_decode(text, start)
        return key, text[start:end].encode(), end

    return _sequence(text, "{", "}", member)


def message(text: bytes) -> dict[str, bytes]:
    """A whole message's members: as :func:`members`, and it must not nest too deep."""
    if nests_too_deep(text):
        raise BadJSON(f"the nesting is deeper than {MAX_DEPTH}")
    return members(text)


def repaired(text: bytes) -> bytes | None:
    """The text with U+FFFD in place of every lone surrogate, as long as before; None where it has none."""
    if not _SURROGATE.search(text):
        return None
    return _PAIR_OR_LONE.sub(lambda found: b"\\ufffd" if found[1] else found[0], text)


def joined(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An object of members whose values are JSON already."""
    return b"{%b}" % b",".join([string(key) + b":" + value for key, value in members])


def string(text: str) -> bytes:
    """The text as a JSON string, lone surrogates included."""
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        return json.dumps(text).encode()


def elements(text: bytes, most: int | None = None) -> list[bytes]:
    """An array's elements, each as it was written.

    Raises :class:`BadJSON` where it is not an array, :class:`TooMany` where it has more than ``most``.
    """
    found: list[bytes] | list[msgspec.Raw]
    try:
        found = _ELEMENTS.decode(text)
    except msgspec.ValidationError:
        raise BadJSON("a JSON array is expected") from None
    except msgspec.DecodeError as error:
        if not _SURROGATE.search(text):
            raise BadJSON(str(error)) from None
        found = _elements_with_surrogates(text)
    except RecursionError:
        raise BadJSON("the nesting is too deep") from None
    # Before anything is copied: a message may hold millions of nothings.
    if most is not None and len(found) > most:
        raise TooMany(len(found))
    return [bytes(element) for element in found]


def value(text: bytes) -> Any:
    """A JSON value read whole; lone surrogates stay in its strings. Raises :class:`BadJSON`."""
    try:
        return _reader.decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise BadJSON(str(error)) from None


def nests_too_deep(text: bytes) -> bool:
    """Whether brackets nest deeper than :data:`MAX_DEPTH`; ``text`` is otherwise valid JSON."""
    # Counted by leaving them out, which takes a third of the time that bytes.count() does.
    if len(text) - len(text.replace(b"{", b"").replace(b"[", b"")) <= MAX_DEPTH:
        return False
    if b"\\" in text:
        text = _ESCAPE.sub(b"", text)
    marks = text.translate(_ALIKE, _NOT_STRUCTURE)
    # Where quotes only ever stand in pairs, no string has a bracket in it.
    brackets = marks.replace(b'""', b"")
    if b'"' in brackets:
        # With escapes gone, every second piece between quotes stands outside of strings.
        brackets = b"".join(marks.split(b'"')[::2])
    most = MAX_DEPTH
    for _ in range(_SHALLOW):
        if not brackets:
            return False
        # Without its innermost pairs a text is one level less deep.
        brackets = brackets.replace(b"{}", b"")
        most -= 1
    # One for an opening bracket and minus one for a closing one: the sums are the depths.
    return max(accumulate(memoryview(brackets.translate(_STEPS)).cast("b")), default=0) > most


def _refuse(name: str) -> NoReturn:
    raise BadJSON(f"{name} is not JSON")


# Numbers become floats: their size is bounded, however many digits they are written with.
_reader = json.JSONDecoder(parse_constant=_refuse, parse_int=float)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _elements_with_surrogates(raw: bytes) -> list[bytes]:
    def element(text: str, at: int) -> tuple[str, bytes, int]:
        _, end = _reader.raw_decode(text, at)
        return "", text[at:end].encode(), end

    return [written for _, written in _sequence(raw, "[", "]", element)]


def _sequence(raw: bytes, opening: str, closing: str, read_one: Any) -> list[tuple[str, bytes]]:
    """What stands between the brackets, separated by commas, with nothing behind."""
    found: list[tuple[str, bytes]] = []
    try:
        text = raw.decode()
        at = _skip(text, 0)
        if text[at : at + 1] != opening:
            raise BadJSON(f"{opening!r} is expected")
        at = _skip(text, at + 1)
        if text[at : at + 1] == closing:
            at += 1
        else:
            while True:
                key, written, at = read_one(text, at)
                found.append((key, written))
                at = _skip(text, at)
                mark, at = text[at : at + 1], at + 1
                if mark == closing:
                    break
                if mark != ",":
                    raise BadJSON(f"',' or {closing!r} is expected (character {at - 1})")
                at = _skip(text, at)
        if _skip(text, at) != len(text):
            raise BadJSON(f"something stands behind the end (character {at})")
    except RecursionError:
        raise BadJSON("the nesting is too deep") from None
    except (ValueError, StopIteration) as error:
        raise BadJSON(str(error)) from None
    return found
