"""A segment's block: what one commit wrote, as the clients sent it (format 2, described in docs/journal.md).

::

    block = 0x02, CRC-32 of the table and length of the table (u32, little endian), table, one zstd frame
    table = packed columns, see columns.py: the fields of the records, see Record
    frame = messages one behind the other, compressed, with the dictionary in phrases.py where that is worth
            it, with a content checksum; left out where there are none

The table is not compressed: it is smaller by itself, and among texts it makes these larger.

A block of format 1 (0x01) is one zstd frame without a dictionary, and its table stands in it, as an array of
records, behind its length.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import zstandard
from msgspec.structs import astuple

from logui_tx.errors import CorruptSegment
from logui_tx.journal.columns import pack_columns, unpack_columns
from logui_tx.journal.phrases import PHRASES

FORMAT, PLAIN = b"\x02", b"\x01"
"""A block's first byte: that of blocks which are written, and that of those which once were."""
MAX_SIZE = 1 << 30
"""A block that claims to be larger than this, uncompressed, is corrupt."""

# The frame header's descriptor (RFC 8878, 3.1.1.1.1): a checksum, and the reserved bits not set.
_DESCRIPTOR, _OF_INTEREST, _CHECKSUM = 4, 0x1C, 0x04
_LONGEST_HEADER = 18


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


_RECENT = {"hash_log": 11, "min_match": 6}
"""In so small a table only what was last seen stays. Events are most like those just before them: with the
larger one that is level 1's own, most blocks are larger, and take longer."""
_LONG = 1 << 17
"""From so many bytes on, those of zstd's own blocks, the dictionary would save a few hundredths, less and
less, and take a tenth more time."""

_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<cII")
_encode = msgspec.msgpack.Encoder().encode
_decode_numbers = msgspec.msgpack.Decoder(list[int]).decode
_decode_rows = msgspec.msgpack.Decoder(list[Record]).decode

# Those of a record, and before the last one whether it is known.
_COLUMNS = 9


def _dictionary() -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(PHRASES, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


class SegmentWriter:
    """Makes blocks. Not safe for use by several threads at once."""

    def __init__(self, level: int = 1) -> None:
        checked: dict[str, Any] = {"write_checksum": True, "write_content_size": True}
        # Prepared once: else each block would pay for it.
        phrases = _dictionary()
        if level == 1:
            parameters = zstandard.ZstdCompressionParameters.from_level(level, **checked, **_RECENT)
            phrases.precompute_compress(compression_params=parameters)
            options: dict[str, Any] = {"compression_params": parameters}
        else:
            # Those that zstd finds right for the size of what comes.
            phrases.precompute_compress(level=level)
            options = {"level": level, **checked}
        self._compress_short = zstandard.ZstdCompressor(dict_data=phrases, **options).compress
        self._compress_long = zstandard.ZstdCompressor(**options).compress

    def block(self, records: Sequence[Record], messages: Sequence[bytes]) -> bytes:
        """``messages`` are those of the records with a size, in their order."""
        table = _pack_table(records)
        head = _HEAD.pack(FORMAT, zlib.crc32(table), len(table))
        texts = b"".join(messages)
        if not texts:
            return head + table
        compress = self._compress_short if len(texts) < _LONG else self._compress_long
        return b"".join((head, table, compress(texts)))


class SegmentReader:
    """Reads blocks. Not safe for use by several threads at once."""

    def __init__(self) -> None:
        self._plain = zstandard.ZstdDecompressor().decompress
        self._decompress = zstandard.ZstdDecompressor(dict_data=_dictionary()).decompress

    def read(self, block: bytes) -> tuple[list[Record], memoryview]:
        """The table, and all messages in one piece. Raises :class:`CorruptSegment`."""
        read = {FORMAT: self._read, PLAIN: self._read_plain}.get(block[:1])
        if read is None:
            raise CorruptSegment(f"format {block[0] if block else 'missing'} is not known")
        try:
            records, messages = read(memoryview(block))
        except (zstandard.ZstdError, msgspec.DecodeError, struct.error, ValueError) as error:
            raise CorruptSegment(f"the block does not hold: {error}") from None
        if sum(record.size for record in records) != len(messages):
            raise CorruptSegment("the block's table and its length differ")
        return records, messages

    def _read(self, block: memoryview) -> tuple[list[Record], memoryview]:
        _, checksum, length = _HEAD.unpack_from(block)
        end = _HEAD.size + length
        table = block[_HEAD.size : end]
        if zlib.crc32(table) != checksum:
            raise CorruptSegment("the block's table does not hold")
        frame = block[end:]
        return _unpack_table(table), _frame(self._decompress, frame) if frame else memoryview(b"")

    def _read_plain(self, block: memoryview) -> tuple[list[Record], memoryview]:
        frame = _frame(self._plain, block[1:])
        (length,) = _LENGTH.unpack_from(frame)
        return _decode_rows(frame[_LENGTH.size : _LENGTH.size + length]), frame[_LENGTH.size + length :]


def _frame(decompress: Callable[..., bytes], frame: memoryview) -> memoryview:
    """What is in it. Raises :class:`CorruptSegment`, and what zstandard raises.

    One with nothing in it is none of ours: zstandard does not look at its checksum.
    """
    if len(frame) > _DESCRIPTOR and frame[_DESCRIPTOR] & _OF_INTEREST != _CHECKSUM:
        raise CorruptSegment("the block has no checksum")
    size = zstandard.frame_content_size(bytes(frame[:_LONGEST_HEADER]))
    if size > MAX_SIZE:
        raise CorruptSegment("the block is too large")
    if not size:
        raise CorruptSegment("the block's frame is empty")
    return memoryview(decompress(frame, allow_extra_data=False))


def _pack_table(records: Sequence[Record]) -> bytes:
    if not records:
        return pack_columns(())
    *columns, offsets = zip(*map(astuple, records), strict=True)
    if None not in offsets:
        return pack_columns([*columns, (1,) * len(records), offsets])
    known = [int(offset is not None) for offset in offsets]
    # One of the others stands for what is not known, so that the column has no outlier.
    some = next((offset for offset in offsets if offset is not None), 0)
    return pack_columns([*columns, known, [some if offset is None else offset for offset in offsets]])


def _unpack_table(table: memoryview) -> list[Record]:
    """Raises ValueError."""
    *columns, known, offsets = unpack_columns(table, _COLUMNS)
    told = [offset if is_known else None for is_known, offset in zip(known, offsets, strict=True)]
    return list(map(Record, *columns, told))


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
