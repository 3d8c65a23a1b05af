"""What PostgreSQL's ``jsonb`` can hold of what clients send.

It has no text with a NUL or half of a surrogate pair, and no number of any size.
"""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST_NUMBER = 400
"""Digits of a number, and its largest exponent: numeric could hold more, and shows all of its digits."""

# What may be too much for a jsonb: in texts, and in numbers with every digit a zero and without signs.
_SUSPICIOUS_ESCAPE = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]")
_LARGE_EXPONENT, _MANY_DIGITS = b"e000", b"0" * LONGEST_NUMBER
_ALIKE = bytes.maketrans(b"123456789.E", b"0000000000e")
# The same with care; a number stands behind one of JSON's marks.
_SUSPICIOUS_NUMBER = re.compile(rb"(?:^|[\s:,\[])-?(?:[\d.]{%d}|\d[\d.]*[eE][+-]?\d{3})" % LONGEST_NUMBER)
_UNHELD = re.compile("[\0\ud800-\udfff]")


def as_jsonb(text: bytes) -> str:
    """JSON text as it may be written to a ``jsonb``; as a JSON string where that cannot hold it."""
    return text.decode("utf-8", "replace") if fits_jsonb(text) else as_string(text)


def as_string(text: bytes) -> str:
    """A JSON string whose value is ``text``."""
    return json.dumps(holdable(text.decode("utf-8", "replace")), ensure_ascii=False)


def holdable(text: str) -> str:
    """With U+FFFD for what no text of PostgreSQL's can hold."""
    return _UNHELD.sub("\ufffd", text)


def fits_jsonb(text: bytes) -> bool:
    """Whether a JSON text means nothing that a ``jsonb`` cannot hold."""
    if not _is_suspicious(text):
        return True
    try:
        read = json.loads(text, parse_float=_number, parse_int=_number, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return False
    return _texts_fit(read)


def _is_suspicious(text: bytes) -> bool:
    """Searched for quickly, for every event comes through here: a regular expression alone takes ten times
    as long."""
    if b"\\" in text and _SUSPICIOUS_ESCAPE.search(text):
        return True
    alike = text.translate(_ALIKE, b"+-")
    if _LARGE_EXPONENT not in alike and _MANY_DIGITS not in alike:
        return False
    return _SUSPICIOUS_NUMBER.search(text) is not None


def _number(written: str) -> None:
    digits, _, exponent = written.lower().partition("e")
    if (
        len(digits) > LONGEST_NUMBER
        or len(exponent) > LONGEST_NUMBER
        or abs(int(exponent or 0)) > LONGEST_NUMBER
    ):
        raise ValueError


def _texts_fit(read: Any) -> bool:
    """Of what was read, an object as a list of pairs."""
    left = [read]
    while left:
        one = left.pop()
        if isinstance(one, str):
            if _UNHELD.search(one):
                return False
        elif isinstance(one, list | tuple):
            left.extend(one)
    return True
