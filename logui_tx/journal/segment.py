"""A segment's block: what one commit wrote, as the clients sent it (format 2, described in docs/journal.md).

::

    block  = 0x02, one zstd frame with content checksum, compressed with the dictionary in phrases.py
    frame  = length of the table (u32, little endian), table, messages one behind the other
    table  = MessagePack array of columns, each an array: a field of all records; see Record

A block of format 1 (0x01) is compressed without a dictionary, and its table is an array of records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import accumulate, pairwise

import msgspec
import zstandard
from msgspec.structs import astuple

from logui_tx.errors import CorruptSegment
from logui_tx.journal.phrases import PHRASES

FORMAT, PLAIN = b"\x02", b"\x01"
"""A block's first byte: that of blocks which are written, and that of those which once were."""
MAX_SIZE = 1 << 30
"""A block that claims to be larger than this, uncompressed, is corrupt."""

# The frame header's descriptor (RFC 8878, 3.1.1.1.1): a checksum, and the reserved bits not set.
_DESCRIPTOR, _OF_INTEREST, _CHECKSUM = 5, 0x1C, 0x04


class Kind(IntEnum):
    """What a record tells of its session."""

    OPENED = 1
    RESUMED = 2
    EVENTS = 3
    CHANGED = 4
    ENDED = 5
    ERASED = 6
    """Events that were deleted on purpose: their number stays, so that later records keep their ids."""


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One row of a block's table.

    ``session`` is its number in the journal, ``received`` UNIX ms, ``app_data`` the version in force;
    ``events`` messages hold ``count`` events from ``first_seq`` on in ``size`` bytes, and came over a
    connection whose clock was ``clock_offset`` ms ahead of the server's.
    """

    kind: int
    session: int
    received: int
    app_data: int = 0
    first_seq: int = 0
    count: int = 0
    size: int = 0
    clock_offset: int | None = None


_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_Numbers = list[int]
_Columns = tuple[_Numbers, _Numbers, _Numbers, _Numbers, _Numbers, _Numbers, _Numbers, list[int | None]]
_decode_columns = msgspec.msgpack.Decoder(_Columns).decode
_decode_numbers = msgspec.msgpack.Decoder(_Numbers).decode
_decode_rows = msgspec.msgpack.Decoder(list[Record]).decode


def _dictionary() -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(PHRASES, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


class SegmentWriter:
    """Makes blocks. Not safe for use by several threads at once."""

    def __init__(self, level: int = 1) -> None:
        # Prepared once a level: else each block would pay for it.
        phrases = _dictionary()
        phrases.precompute_compress(level=level)
        self._compress = zstandard.ZstdCompressor(
            level=level, dict_data=phrases, write_checksum=True, write_content_size=True
        ).compress

    def block(self, records: Sequence[Record], messages: Sequence[bytes]) -> bytes:
        """``messages`` are those of the records with a size, in their order."""
        # As columns the table takes a third: much of it is the same in all records of a commit.
        table = _encode(list(zip(*map(astuple, records), strict=True)) or [()] * 8)
        return FORMAT + self._compress(b"".join((_LENGTH.pack(len(table)), table, *messages)))


class SegmentReader:
    """Reads blocks. Not safe for use by several threads at once."""

    def __init__(self) -> None:
        self._formats = {
            FORMAT: (zstandard.ZstdDecompressor(dict_data=_dictionary()).decompress, _read_columns),
            PLAIN: (zstandard.ZstdDecompressor().decompress, _decode_rows),
        }

    def read(self, block: bytes) -> tuple[list[Record], memoryview]:
        """The table, and all messages in one piece. Raises :class:`CorruptSegment`."""
        if block[:1] not in self._formats:
            raise CorruptSegment(f"format {block[0] if block else 'missing'} is not known")
        decompress, read_table = self._formats[block[:1]]
        if len(block) > _DESCRIPTOR and block[_DESCRIPTOR] & _OF_INTEREST != _CHECKSUM:
            raise CorruptSegment("the block has no checksum")
        try:
            if zstandard.frame_content_size(block[1:19]) > MAX_SIZE:
                raise CorruptSegment("the block is too large")
            frame = memoryview(decompress(memoryview(block)[1:], allow_extra_data=False))
            (length,) = _LENGTH.unpack_from(frame)
            records = read_table(frame[_LENGTH.size : _LENGTH.size + length])
        except (zstandard.ZstdError, msgspec.DecodeError, struct.error, ValueError) as error:
            raise CorruptSegment(f"the block does not hold: {error}") from None
        messages = frame[_LENGTH.size + length :]
        if sum(record.size for record in records) != len(messages):
            raise CorruptSegment("the block's table and its length differ")
        return records, messages


def _read_columns(table: memoryview) -> list[Record]:
    """Raises ValueError where they are not equally long."""
    columns = _decode_columns(table)
    if len(set(map(len, columns))) > 1:
        raise ValueError("its table is not whole")
    return list(map(Record, *columns))


def slices(records: Sequence[Record], messages: memoryview) -> Iterator[tuple[Record, memoryview]]:
    """Each record with its part of the messages."""
    at = 0
    for record in records:
        yield record, messages[at : at + record.size]
        at += record.size


def pack_sessions(numbers: Iterable[int]) -> bytes:
    """The sessions of a segment as the table ``segment`` keeps them: a MessagePack array of the rising
    numbers, each less the one before it.
    """
    rising = sorted(numbers)
    return _encode([after - before for before, after in pairwise([0, *rising])]) if rising else b""


def unpack_sessions(packed: bytes) -> list[int]:
    """What :func:`pack_sessions` packed; before layout 5 it was eight bytes a number, big endian.

    Raises :class:`CorruptSegment`.
    """
    if not packed:
        return []
    try:
        if packed[0] == 0:
            return list(struct.unpack(f">{len(packed) // 8}Q", packed))
        return list(accumulate(_decode_numbers(packed)))
    except (struct.error, msgspec.DecodeError) as error:
        raise CorruptSegment(f"the list of its sessions does not hold: {error}") from None


def sessions_of(segment: int, packed: bytes) -> list[int]:
    """As :func:`unpack_sessions`; what is wrong is told with the segment's number."""
    try:
        return unpack_sessions(packed)
    except CorruptSegment as error:
        raise CorruptSegment(f"segment {segment}: {error}") from None
