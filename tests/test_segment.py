"""A segment's block: what was written is read, or it is corrupt; and it is what docs/journal.md says."""

import hashlib
import struct
import zlib

import msgpack
import zstandard
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import CorruptSegment
from logui_tx.journal import segment
from logui_tx.journal.phrases import PHRASES
from logui_tx.journal.segment import (
    Kind,
    Record,
    SegmentReader,
    SegmentWriter,
    pack_sessions,
    slices,
    unpack_sessions,
)

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

numbers = st.integers(0, 2**63 - 1)
reader = SegmentReader()
PHRASE_BOOK = zstandard.ZstdCompressionDict(PHRASES, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


@st.composite
def contents(draw: st.DrawFn) -> tuple[list[Record], list[bytes]]:
    records, messages = [], []
    for kind in draw(st.lists(st.sampled_from(list(Kind)), max_size=8)):
        message = draw(st.binary(max_size=200)) if kind is Kind.EVENTS else b""
        fields = [draw(numbers) for _ in range(5)]
        offset = draw(st.none() | st.integers(-(2**63), 2**63 - 1))
        records.append(Record(kind, *fields, len(message), offset))
        if message:
            messages.append(message)
    return records, messages


RECORDS = [
    Record(Kind.OPENED, 1, 1_795_306_226_888, 1, clock_offset=-12),
    Record(Kind.EVENTS, 1, 1_795_306_226_901, 1, 1, 2, 300, -12),
    Record(Kind.ERASED, 2, 1_795_306_226_902, 0, 7, 3),
    Record(Kind.EVENTS, 3, 1_795_306_226_903, 0, 1, 1, 700, None),
]
MESSAGES = [b'{"event":"click"}'.ljust(300), bytes(range(256)).ljust(700, b"x")]


def block(level: int = 1) -> bytes:
    return SegmentWriter(level).block(RECORDS, MESSAGES)


class RoundTripTests(SynchronousTestCase):
    @unhurried
    @given(contents(), st.sampled_from([1, 3, 19]))
    def test_what_was_written_is_read(self, content: tuple[list[Record], list[bytes]], level: int) -> None:
        records, messages = content
        found, whole = reader.read(SegmentWriter(level).block(records, messages))
        self.assertEqual(found, records)
        self.assertEqual(bytes(whole), b"".join(messages))
        parts = list(slices(found, whole))
        self.assertEqual([record for record, _ in parts], records)
        self.assertEqual([bytes(part) for record, part in parts if record.size], messages)
        self.assertTrue(all(len(part) == record.size for record, part in parts))

    def test_long_texts_need_no_dictionary(self) -> None:
        for size, needed in ((segment._LONG - 1, True), (segment._LONG, False)):
            text = PHRASES + bytes(size - len(PHRASES))
            written = SegmentWriter().block([Record(Kind.EVENTS, 1, 0, size=size)], [text])
            self.assertEqual(bytes(reader.read(written)[1]), text)
            frame = written[written.index(zstandard.FRAME_HEADER) :]
            if needed:
                self.assertRaises(zstandard.ZstdError, zstandard.ZstdDecompressor().decompress, frame)
            else:
                self.assertEqual(zstandard.ZstdDecompressor().decompress(frame), text)

    def test_a_writer_is_used_again(self) -> None:
        writer = SegmentWriter()
        self.assertEqual(writer.block(RECORDS, MESSAGES), writer.block(RECORDS, MESSAGES))


class DamageTests(SynchronousTestCase):
    def corrupt(self, damaged: bytes, what: str) -> None:
        try:
            reader.read(damaged)
        except CorruptSegment as error:
            self.assertTrue(str(error))
        else:
            self.fail(f"{what} was not noticed")

    def test_every_flipped_byte(self) -> None:
        for records, messages in ((RECORDS, MESSAGES), (RECORDS[:1], [])):
            whole = SegmentWriter().block(records, messages)
            for at, byte in enumerate(whole):
                for flip in range(1, 256):
                    damaged = whole[:at] + bytes([byte ^ flip]) + whole[at + 1 :]
                    try:
                        found, texts = reader.read(damaged)
                    except CorruptSegment:
                        continue
                    # Now and then zstd says the very same in two ways.
                    self.assertEqual(
                        (found, bytes(texts)), (records, b"".join(messages)), f"{flip:#x} at {at}"
                    )

    def test_every_cut_and_more(self) -> None:
        whole = block()
        for at in range(len(whole)):
            self.corrupt(whole[:at], f"a cut at {at}")
        for more in [b"\x00", whole, whole[1:]]:
            self.corrupt(whole + more, "more behind the end")

    @settings(unhurried, max_examples=300)
    @given(st.binary(max_size=80), st.booleans())
    def test_any_bytes(self, noise: bytes, begin_well: bool) -> None:
        for whole in (EXAMPLE, block()):
            self.corrupt(whole[: 6 if begin_well else 1] + noise, "noise")

    @settings(unhurried, max_examples=300)
    @given(st.binary(max_size=60))
    def test_any_frame(self, frame: bytes) -> None:
        """Well compressed, but written by somebody else: never another exception."""
        plain = zstandard.ZstdCompressor(write_checksum=True).compress(frame)
        table = b"\x02" + struct.pack("<II", zlib.crc32(frame), len(frame)) + frame
        for whole in (b"\x01" + plain, table):
            try:
                records, messages = reader.read(whole)
            except CorruptSegment:
                continue
            self.assertEqual(sum(record.size for record in records), len(messages))

    def test_tables_that_do_not_fit(self) -> None:
        """Of a sound checksum."""

        def made(table: object, messages: bytes = b"12345") -> bytes:
            packed = msgpack.packb(table)
            compressor = zstandard.ZstdCompressor(write_checksum=True, dict_data=PHRASE_BOOK)
            head = struct.pack("<II", zlib.crc32(packed), len(packed))
            return b"\x02" + head + packed + (compressor.compress(messages) if messages else b"")

        def table(bases: object = (3, 1, 0, 0, 1, 1, 5, 0, 0), widths: object = (0,) * 9) -> object:
            return [1, bases, widths, b""]

        self.assertEqual(bytes(reader.read(made(table()))[1]), b"12345")
        for damaged in [
            made(table(), b"1234"),
            made(table((3, 1, 0, 0, 1, 1, 5, 0), (0,) * 8)),
            made(table((3, 1, 0, 0, 1, 1, "5", 0, 0))),
            made([2, *table()[1:]]),  # type: ignore[index]
            made({"not": "an array"}),
            made(None),
            made(table())[:9],
        ]:
            self.corrupt(damaged, repr(damaged))
        self.assertEqual(reader.read(made([0, [], [], b""], b""))[0], [])

    def test_frames_that_do_not_add_up(self) -> None:
        def made(table: object, messages: bytes = b"", length: int | None = None) -> bytes:
            packed = msgpack.packb(table)
            frame = struct.pack("<I", len(packed) if length is None else length) + packed + messages
            return b"\x01" + zstandard.ZstdCompressor(write_checksum=True).compress(frame)

        row = [3, 1, 0, 0, 1, 1, 5, None]
        self.assertEqual(bytes(reader.read(made([row], b"12345"))[1]), b"12345")
        for damaged in [
            made([row], b"1234"),
            made([row], b"123456"),
            made([], b"1"),
            made([row], b"12345", length=3),
            made([row], b"12345", length=2**32 - 1),
            made({"not": "an array"}),
            made([["three", 1, 0]]),
            made([[3]]),
            made(None),
        ]:
            self.corrupt(damaged, repr(damaged))

    def test_without_a_checksum_or_a_size(self) -> None:
        frame = struct.pack("<I", 1) + b"\x90"
        for options in [{"write_checksum": False}, {"write_checksum": True, "write_content_size": False}]:
            damaged = b"\x01" + zstandard.ZstdCompressor(**options).compress(frame)
            self.corrupt(damaged, str(options))

    def test_a_claim_to_be_huge(self) -> None:
        """Refused before memory is asked for."""
        self.patch(segment, "MAX_SIZE", 100)
        error = self.assertRaises(CorruptSegment, reader.read, block())
        self.assertIn("too large", str(error))

    def test_unknown_format(self) -> None:
        self.assertIn("3", str(self.assertRaises(CorruptSegment, reader.read, b"\x03" + block()[1:])))
        self.assertIn("missing", str(self.assertRaises(CorruptSegment, reader.read, b"")))


# A block of format 1 as an early server wrote it: it must be readable for ever.
EXAMPLE = bytes.fromhex(
    "0128b52ffd24b0a5040024084500000094980107cf000001a2009704c801000000f49803d501010167f49804dc020000"
    "00c09805e67b227061796c6f616454797065223a224c6f6755494576656e7450222c4944223a312c226576656e747354"
    "6f42654c6f67676564223a5b7b22636c69656e744461746554696d65223a313739353330363232363838387d5d7d0600"
    "4511fcce19e00a5038281c2ae61855eecba8"
)


@frozen
class Row:
    """docs/journal.md, table *record*."""

    kind: int
    session: int
    received: int
    app_data: int
    first_seq: int
    count: int
    size: int
    clock_offset: int | None


class DocumentedFormatTests(SynchronousTestCase):
    """Only zstandard and msgpack: what docs/journal.md says is enough to read a block."""

    def by_the_document(self, whole: bytes) -> tuple[list[Row], list[bytes]]:
        if whole[0] == 0x02:
            checksum, length = struct.unpack("<II", whole[1:9])
            table, frame = whole[9 : 9 + length], whole[9 + length :]
            self.assertEqual(zlib.crc32(table), checksum)
            rows = self.columns(table)
            texts = self.decompressed(frame, {"dict_data": PHRASE_BOOK}) if frame else b""
        else:
            self.assertEqual(whole[0], 0x01)
            text = self.decompressed(whole[1:], {})
            length = int.from_bytes(text[:4], "little")
            rows = [Row(*row) for row in msgpack.unpackb(text[4 : 4 + length])]
            texts = text[4 + length :]
        messages, at = [], 0
        for row in rows:
            if row.size:
                messages.append(texts[at : at + row.size])
            at += row.size
        self.assertEqual(at, len(texts))
        return rows, messages

    def decompressed(self, frame: bytes, options: dict[str, object]) -> bytes:
        parameters = zstandard.get_frame_parameters(frame)
        self.assertTrue(parameters.has_checksum)
        text = zstandard.ZstdDecompressor(**options).decompress(frame)
        self.assertEqual(parameters.content_size, len(text))
        return text

    def columns(self, table: bytes) -> list[Row]:
        count, bases, widths, planes = msgpack.unpackb(table)
        at, rows = 0, []
        columns = []
        for base, width in zip(bases, widths, strict=True):
            column = [base] * count
            for place in range(width):
                for n in range(count):
                    column[n] += planes[at + n] << 8 * place
                at += count
            columns.append(column)
        for *fields, known, offset in zip(*columns, strict=True):
            rows.append(Row(*fields, offset if known else None))
        return rows

    def test_what_we_write_today(self) -> None:
        self.assertEqual(block()[0], 0x02)
        rows, messages = self.by_the_document(block())
        self.assertEqual(messages, MESSAGES)
        self.assertEqual(
            rows,
            [
                Row(1, 1, 1_795_306_226_888, 1, 0, 0, 0, -12),
                Row(3, 1, 1_795_306_226_901, 1, 1, 2, 300, -12),
                Row(6, 2, 1_795_306_226_902, 0, 7, 3, 0, None),
                Row(3, 3, 1_795_306_226_903, 0, 1, 1, 700, None),
            ],
        )

    def test_long_ones(self) -> None:
        text = PHRASES * (segment._LONG // len(PHRASES) + 1)
        for level in (1, 3, 9, 19):
            long = SegmentWriter(level).block([Record(Kind.EVENTS, 1, 0, size=len(text))], [text])
            self.assertEqual(self.by_the_document(long)[1], [text])

    def test_what_was_written_once(self) -> None:
        rows, messages = self.by_the_document(EXAMPLE)
        self.assertEqual([row.kind for row in rows], [1, 3, 4, 5])
        self.assertEqual(
            messages,
            [
                b'{"payloadType":"LogUIEventPayload","payloadID":1,"eventsToBeLogged":[{"clientDateTime":1795306226888}]}'
            ],
        )
        records, whole = reader.read(EXAMPLE)
        self.assertEqual(records[1], Record(Kind.EVENTS, 7, 1_795_306_226_901, 1, 1, 1, 103, -12))
        self.assertEqual(bytes(whole), messages[0])

    def test_kinds(self) -> None:
        self.assertEqual(
            {kind.name: kind.value for kind in Kind},
            {"OPENED": 1, "RESUMED": 2, "EVENTS": 3, "CHANGED": 4, "ENDED": 5, "ERASED": 6},
        )

    def test_the_dictionary_is_for_ever(self) -> None:
        """Another one makes every block unreadable that was written with this."""
        digest = "34bbf5f925f9258bfdfcc9d65a21ee3f1f7da7209cdffc4b7e97b02b505b21b7"
        self.assertEqual(hashlib.sha256(PHRASES).hexdigest(), digest)


class SessionsTests(SynchronousTestCase):
    def test_differences_of_the_rising_numbers(self) -> None:
        self.assertEqual(msgpack.unpackb(pack_sessions([300, 1, 258])), [1, 257, 42])
        self.assertEqual(pack_sessions([]), b"")

    @unhurried
    @given(st.sets(numbers, max_size=30))
    def test_what_is_packed_is_there(self, many: set[int]) -> None:
        self.assertEqual(unpack_sessions(pack_sessions(many)), sorted(many))

    def test_what_nobody_packed(self) -> None:
        for damaged in (b"\x95\x01", b"\x91\xa1x", b"\x81\x01\x02", b"\0\0\0", b"\x91\x01\x01"):
            self.assertRaises(CorruptSegment, unpack_sessions, damaged)

    def test_what_was_written_once(self) -> None:
        self.assertEqual(unpack_sessions(b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\x02"), [1, 258])
