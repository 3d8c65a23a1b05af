"""A segment's block: what one commit wrote, as the clients sent it (format 1, described in docs/journal.md).

::

    block  = 0x01, one zstd frame with content checksum
    frame  = length of the table (u32, little endian), table, messages one behind the other
    table  = MessagePack array of records, each an array: see Record
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum

import msgspec
import zstandard

from logui_tx.errors import CorruptSegment

FORMAT = b"\x01"
"""A block's first byte."""
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
_decode = msgspec.msgpack.Decoder(list[Record]).decode


class SegmentWriter:
    """Makes blocks. Not safe for use by several threads at once."""

    def __init__(self, level: int = 1) -> None:
        self._compress = zstandard.ZstdCompressor(
            level=level, write_checksum=True, write_content_size=True
        ).compress

    def block(self, records: Sequence[Record], messages: Sequence[bytes]) -> bytes:
        """``messages`` are those of the records with a size, in their order."""
        table = _encode(records)
        return FORMAT + self._compress(b"".join((_LENGTH.pack(len(table)), table, *messages)))


class SegmentReader:
    """Reads blocks. Not safe for use by several threads at once."""

    def __init__(self) -> None:
        self._decompress = zstandard.ZstdDecompressor().decompress

    def read(self, block: bytes) -> tuple[list[Record], memoryview]:
        """The table, and all messages in one piece. Raises :class:`CorruptSegment`."""
        if block[:1] != FORMAT:
            raise CorruptSegment(f"format {block[0] if block else 'missing'} is not known")
        if len(block) > _DESCRIPTOR and block[_DESCRIPTOR] & _OF_INTEREST != _CHECKSUM:
            raise CorruptSegment("the block has no checksum")
        try:
            if zstandard.frame_content_size(block[1:19]) > MAX_SIZE:
                raise CorruptSegment("the block is too large")
            frame = memoryview(self._decompress(memoryview(block)[1:], allow_extra_data=False))
            (length,) = _LENGTH.unpack_from(frame)
            records = _decode(frame[_LENGTH.size : _LENGTH.size + length])
        except (zstandard.ZstdError, msgspec.DecodeError, struct.error) as error:
            raise CorruptSegment(f"the block does not hold: {error}") from None
        messages = frame[_LENGTH.size + length :]
        if sum(record.size for record in records) != len(messages):
            raise CorruptSegment("the block's table and its length differ")
        return records, messages


def slices(records: Sequence[Record], messages: memoryview) -> Iterator[tuple[Record, memoryview]]:
    """Each record with its part of the messages."""
    at = 0
    for record in records:
        yield record, messages[at : at + record.size]
        at += record.size


def pack_sessions(numbers: Sequence[int]) -> bytes:
    """The sessions of a segment as the table ``segment`` keeps them: eight bytes each, big endian."""
    return struct.pack(f">{len(numbers)}Q", *numbers)


def pack_session(number: int) -> bytes:
    """One number as :func:`pack_sessions` writes it."""
    return pack_sessions((number,))
