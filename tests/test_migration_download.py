"""Files of a released LogUI server, read piece by piece."""

import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadExport
from logui_tx.migration.download import Document, Download

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), values, max_size=4)
# What may stand around an object: any of JSON's white space; one comma, several or none.
between = st.text(" \t\r\n,", max_size=5).map(str.encode)
styles = st.sampled_from(
    [
        {},
        {"indent": 1},
        {"ensure_ascii": False},
        {"separators": (",", ":")},
        {"sort_keys": True},
    ]
)


class Trickle(io.BytesIO):
    """Gives less than was asked for, as a pipe may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(1 if size else size)


def read(content: bytes, **more: Any) -> list[Document]:
    return list(Download(io.BytesIO(content), **more))


def texts(content: bytes, **more: Any) -> list[bytes]:
    return [document.text for document in read(content, **more)]


def encoded(value: Any, style: dict[str, Any]) -> bytes:
    return json.dumps(value, **style).encode("utf-8", "surrogatepass")


class AnyFileTests(SynchronousTestCase):
    @given(st.lists(st.tuples(objects, styles, between), max_size=5), st.booleans(), st.integers(1, 40))
    def test_the_objects_as_they_were_written(
        self, written: list[tuple[Any, Any, bytes]], in_array: bool, chunk: int
    ) -> None:
        content, expected = bytearray(b" \n[" if in_array else b"\n"), []
        for value, style, gap in written:
            text = encoded(value, style)
            content += gap
            expected.append(Document(text, len(content)))
            content += text + gap
        if in_array:
            content += b"]\n"
        self.assertEqual(read(bytes(content), chunk=chunk), expected)
        self.assertEqual(list(Download(Trickle(bytes(content)), chunk=chunk)), expected)
        if in_array:
            self.assertEqual([json.loads(each.text) for each in expected], [value for value, _, _ in written])

    @given(st.lists(objects, min_size=1, max_size=4), st.data(), st.integers(1, 40))
    def test_a_file_that_breaks_off(self, values: list[Any], data: Any, chunk: int) -> None:
        """What is whole is read; then the place is told where the rest begins."""
        whole = b"[" + b",\n".join(encoded(value, {}) for value in values) + b"]"
        cut = data.draw(st.integers(1, len(whole) - 1))
        found: list[bytes] = []
        with self.assertRaises(BadExport) as caught:
            found.extend(document.text for document in Download(io.BytesIO(whole[:cut]), chunk=chunk))
        self.assertIn("breaks off", str(caught.exception))
        place = caught.exception.place
        self.assertTrue(place == cut or whole[place : place + 1] == b"{", place)

    @given(st.binary(max_size=60), st.integers(1, 10))
    def test_whatever_it_is(self, content: bytes, chunk: int) -> None:
        try:
            found = read(content, chunk=chunk)
        except BadExport as error:
            self.assertTrue(0 <= error.place <= len(content))
        else:
            for each in found:
                self.assertEqual(content[each.place : each.place + len(each.text)], each.text)


class FileTests(SynchronousTestCase):
    def test_as_the_server_writes_it(self) -> None:
        self.assertEqual(texts(b'[\n\n{"a": 1},\n\n{"b": "}]"}\n\n]'), [b'{"a": 1}', b'{"b": "}]"}'])

    def test_written_while_events_arrived(self) -> None:
        """It counts the events first, so that a comma may be missing, or be one too many."""
        self.assertEqual(texts(b'[\n\n{"a": 1}\n\n{"b": 2}\n\n]'), [b'{"a": 1}', b'{"b": 2}'])
        self.assertEqual(texts(b'[\n\n{"a": 1},\n\n]'), [b'{"a": 1}'])

    def test_nothing(self) -> None:
        for content in (b"", b"\n", b"[]", b"[\n\n]", b"\xef\xbb\xbf", b"\xef\xbb\xbf[]"):
            self.assertEqual(read(content), [])

    def test_a_byte_order_mark(self) -> None:
        self.assertEqual(read(b"\xef\xbb\xbf[{}]"), [Document(b"{}", 4)])

    def test_something_else(self) -> None:
        for content, place, why in [
            (b"<html>", 0, "an object is expected"),
            (b'[{"a": 1}, 2]', 11, "an object is expected"),
            (b'{"a": 1}]', 8, "an object is expected"),
            (b"[[]]", 1, "an object is expected"),
            (b"null", 0, "an object is expected"),
            (b"[{}] {}", 5, "the array has ended"),
            (b"[{}", 3, "its array has no end"),
            (b'[{}, {"a": "', 5, "the object that begins here has no end"),
        ]:
            error = self.assertRaises(BadExport, read, content)
            self.assertEqual(error.place, place, content)
            self.assertIn(why, str(error))

    def test_an_object_that_is_too_long(self) -> None:
        content = b'[{"a": "%b"}]' % (b"x" * 1000)
        self.assertEqual(len(read(content, chunk=10, longest=2000)), 1)
        error = self.assertRaises(BadExport, read, content, chunk=10, longest=100)
        self.assertEqual(error.place, 1)

    def test_what_is_long_is_read_in_few_pieces(self) -> None:
        sizes: list[int] = []

        class File(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                sizes.append(size or 0)
                return super().read(size)

        list(Download(File(b'{"a": "%b"}' % (b"x" * 100_000)), chunk=10))
        self.assertLess(len(sizes), 20)

    def test_memory(self) -> None:
        """However many there are, no more than a piece of the file is held."""

        class Endless(io.BytesIO):
            left = 2_000

            def read(self, size: int | None = -1) -> bytes:
                self.left -= 1
                return b'{"a": [1, 2]}\n' * 100 if self.left else b""

        download = Download(Endless(), chunk=1400)
        self.assertEqual(sum(1 for _ in download), 199_900)
        self.assertLess(len(download._text), 10_000)
