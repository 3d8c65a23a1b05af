"""JSON text made to fit: on one line, or in ASCII. The meaning stays, and every digit."""

from __future__ import annotations

import re

_BREAKS = bytes.maketrans(b"\r\n", b"  ")
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")


def one_line(json: bytes) -> bytes:
    """Without line breaks: raw ones stand only between JSON's tokens, where a space does as well."""
    return json.translate(_BREAKS) if b"\n" in json or b"\r" in json else json


def ascii_json(json: bytes) -> str:
    """On one line, printable and in ASCII: all else stands in strings, where it becomes ``\\uXXXX``."""
    return _NOT_ASCII.sub(_escape, one_line(json).decode("utf-8", "backslashreplace"))


def shown(line: str) -> str:
    """A line of JSON or CSV as a terminal may see it: what is no visible character becomes ``\\uXXXX``."""
    return line if line.isprintable() else _NOT_ASCII.sub(_escape_unseen, line)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _escape_unseen(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else _escape(match)
