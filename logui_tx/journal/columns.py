"""Columns of whole numbers, packed: each as differences to a base, in as few bytes as its largest needs.

::

    MessagePack array: number of rows, base of each column, bytes a value of each column (0 to 8), planes
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
    bases: list[int] = []
    widths: list[int] = []
    planes: list[bytes] = []
    words = f"<{rows}Q"
    for column in columns if rows else ():
        base, width = column[0], 0
        if column.count(base) != rows:
            base, most = min(column), max(column)
            width = ((most - base).bit_length() + 7) // 8
            if base >= 0 and most.bit_length() <= 8 * width:
                # They take no more as they are, and need no arithmetic.
                base, packed = 0, pack(words, *column)
            else:
                packed = pack(words, *[number - base for number in column])
            planes += [packed[place::_WORD] for place in range(width)]
        bases.append(base)
        widths.append(width)
    return _encode((rows, bases, widths, b"".join(planes)))


def unpack_columns(packed: bytes | memoryview, count: int) -> list[list[int]]:
    """``count`` columns that :func:`pack_columns` packed. Raises ValueError where they do not hold."""
    rows, bases, widths, planes = _decode(packed)
    if not rows:
        return [[] for _ in range(count)]
    if len(bases) != count or len(widths) != count or not 0 < rows <= MOST_ROWS:
        raise ValueError("its table is not whole")
    if not all(0 <= width <= _WORD for width in widths) or sum(widths) * rows != len(planes):
        raise ValueError("its table's columns do not add up")
    columns: list[list[int]] = []
    at = 0
    for base, width in zip(bases, widths, strict=True):
        if not width:
            columns.append([base] * rows)
            continue
        words = bytearray(_WORD * rows)
        for place in range(width):
            words[place::_WORD] = planes[at : at + rows]
            at += rows
        columns.append([base + number for number in unpack(f"<{rows}Q", words)])
    return columns
