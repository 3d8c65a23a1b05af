"""Reads what the released server lets people download, piece by piece: files may be larger than memory.

::

    file = "[" { object [","] } "]"      its download, and mongoexport --jsonArray
         | { object }                    mongoexport: one object a line

White space and commas between objects are skipped however many there are: the download has none where events
arrived while it was written. An object is found by its brackets and kept as it is written there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from attrs import frozen

from logui_tx.errors import BadExport

LONGEST = 128 * 1024 * 1024
"""Bytes of one object: MongoDB holds 16 MiB at most, in which each character may be written as six."""

_CHUNK = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_BETWEEN = re.compile(rb"[ \t\r\n,]*+")
# The next bracket that stands in no string; nothing where the text ends before it.
_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+([{}\[\]])', re.DOTALL)


@frozen
class Document:
    """An object of the file, as it is written there, and the place of its first byte, from 0."""

    text: bytes
    place: int


class Download:
    """The objects of a file, once. ``place`` is how far it was read, in bytes."""

    def __init__(self, file: BinaryIO, *, chunk: int = _CHUNK, longest: int = LONGEST) -> None:
        self._file = file
        self._chunk = chunk
        self._longest = longest
        self._text = b""
        self._at = 0
        self._before = 0

    @property
    def place(self) -> int:
        return self._before + self._at

    def __iter__(self) -> Iterator[Document]:
        """Raises :class:`BadExport` where the file breaks off or is something else, after what was good."""
        self._skip_mark()
        in_array = self._next() == b"["
        self._at += in_array
        while (found := self._next()) == b"{":
            yield self._object()
        if in_array:
            if not found:
                raise BadExport(self.place, "the file breaks off: its array has no end")
            if found != b"]":
                raise BadExport(self.place, "an object is expected")
            self._at += 1
            found = self._next()
        if found:
            raise BadExport(self.place, "an object is expected" if not in_array else "the array has ended")

    def _skip_mark(self) -> None:
        while len(self._text) < len(_BOM) and self._fill():
            pass
        if self._text.startswith(_BOM):
            self._at = len(_BOM)

    def _next(self) -> bytes:
        """The byte with which something begins; nothing at the end."""
        while True:
            match = _BETWEEN.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at : self._at + 1]
            if not self._fill():
                return b""

    def _object(self) -> Document:
        start, depth, place = self._at, 0, self.place
        at = start
        while True:
            match = _BRACKET.match(self._text, at)
            if match is None:
                self._at = start
                if len(self._text) - start > self._longest:
                    raise BadExport(place, f"an object of more than {self._longest} bytes is no event")
                if not self._fill():
                    raise BadExport(place, "the file breaks off: the object that begins here has no end")
                at, start = at - start, 0
                continue
            at = match.end()
            depth += 1 if match[1] in b"{[" else -1
            if depth == 0:
                self._at = at
                return Document(self._text[start:at], place)

    def _fill(self) -> bool:
        """Read on, and forget what lies behind; as much again, so that what is long is not read often."""
        rest = self._text[self._at :]
        more = self._file.read(max(self._chunk, len(rest)))
        self._before += self._at
        self._text, self._at = rest + more, 0
        return bool(more)
