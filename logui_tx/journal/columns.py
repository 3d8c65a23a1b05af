"""Columns of whole numbers, packed: each as differences to its least, in as few bytes as its largest needs.

::

    MessagePack array: number of rows, least of each column, bytes a value of each column (0 to 8), planes
    planes = of each column first the lowest byte of every row, then the next, as many as a value has

A column in which all rows are alike takes no bytes, and neighbours' numbers, which most are, take one or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack

import msgspec

MOST_ROWS = 1 << 24
"""Packed columns that claim to have more rows are refused."""

_WORD = 8

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, list[int], list[int], bytes]).decode


def pack_columns(columns: Sequence[Sequence[int]]) -> bytes:
    """Equally long columns; the numbers of one are at most 2**64 - 1 apart."""
    rows = len(columns[0]) if columns else 0
    leasts: list[int] = []
    widths: list[int] = []
    planes: list[bytes] = []
    for column in columns if rows else ():
        least = min(column)
        width = ((max(column) - least).bit_length() + 7) // 8
        leasts.append(least)
        widths.append(width)
        if width:
            words = pack(f"<{rows}Q", *[number - least for number in column])
            planes += [words[place::_WORD] for place in range(width)]
    return _encode((rows, leasts, widths, b"".join(planes)))


def unpack_columns(packed: bytes | memoryview, count: int) -> list[list[int]]:
    """``count`` columns that :func:`pack_columns` packed. Raises ValueError where they do not hold."""
    rows, leasts, widths, planes = _decode(packed)
    if not rows:
        return [[] for _ in range(count)]
    if len(leasts) != count or len(widths) != count or not 0 < rows <= MOST_ROWS:
        raise ValueError("its table is not whole")
    if not all(0 <= width <= _WORD for width in widths) or sum(widths) * rows != len(planes):
        raise ValueError("its table's columns do not add up")
    columns: list[list[int]] = []
    at = 0
    for least, width in zip(leasts, widths, strict=True):
        if not width:
            columns.append([least] * rows)
            continue
        words = bytearray(_WORD * rows)
        for place in range(width):
            words[place::_WORD] = planes[at : at + rows]
            at += rows
        columns.append([least + number for number in unpack(f"<{rows}Q", words)])
    return columns
