"""JSON as bytes: slices as they were written, strictness, depth."""

import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.dialects.json_text import (
    MAX_DEPTH,
    BadJSON,
    elements,
    members,
    nests_too_deep,
    repaired,
    value,
)

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Texts with everything that is special in JSON, halves of emojis among it.
tricky = st.text(
    st.sampled_from('{}[]":,\\/u0d8a \n\t\x00\x7f\u00e9\u2028\ud83d\ude00\U0001f600'), max_size=12
)
texts = st.one_of(st.text(max_size=8), tricky)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
spaces = st.text(" \t\r\n", max_size=3)


def written(something: object, ascii_only: bool = True) -> str:
    return json.dumps(something, ensure_ascii=ascii_only, indent=None)


def as_bytes(text: str) -> bytes:
    """Lone surrogates cannot be UTF-8: they only come escaped."""
    return "".join(written(c)[1:-1] if "\ud800" <= c <= "\udfff" else c for c in text).encode()


@st.composite
def objects(draw: st.DrawFn) -> tuple[bytes, dict[str, bytes]]:
    """An object's text, spaced at will, and its members as they stand in it."""
    pairs = draw(st.lists(st.tuples(texts, values), max_size=5))
    parts, expected = [], {}
    for key, content in pairs:
        slice_ = as_bytes(written(content, draw(st.booleans())))
        name = as_bytes(written(key, draw(st.booleans())))
        before, between, then, after = (draw(spaces).encode() for _ in range(4))
        parts.append(before + name + between + b":" + then + slice_ + after)
        # Two halves side by side are read as one character.
        expected[json.loads(name)] = slice_
    start, end = draw(spaces).encode(), draw(spaces).encode()
    return start + b"{" + b",".join(parts) + b"}" + end, expected


@st.composite
def arrays(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    expected = [as_bytes(written(v, draw(st.booleans()))) for v in draw(st.lists(values, max_size=5))]
    parts = [draw(spaces).encode() + slice_ + draw(spaces).encode() for slice_ in expected]
    return draw(spaces).encode() + b"[" + b",".join(parts) + b"]" + draw(spaces).encode(), expected


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"[",
    b"]",
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,}',
    b'{"a":1 "b":2}',
    b"{1:2}",
    b"{a:1}",
    b"{,}",
    b"[1,]",
    b"[,]",
    b"[1 2]",
    b"[1}",
    b'{"a":1]',
    b"{} {}",
    b"[] x",
    b"[]\x00",
    b"[NaN]",
    b"[Infinity]",
    b"[-Infinity]",
    b'{"a":NaN}',
    b"[01]",
    b"[1.]",
    b"[.5]",
    b"[+1]",
    b"[1e]",
    b"[-]",
    b"[tru]",
    b"['a']",
    b'["\\q"]',
    b'["\\u12g4"]',
    b'["\n"]',
    b'["',
    b"\xef\xbb\xbf{}",
    b"// x\n{}",
]


def refuses_surrogates_added(bad: bytes) -> list[bytes]:
    """The same mistake where the slow way has to find it: behind, before and beside a lone surrogate."""
    return [b'["\\ud83d",' + bad + b"]", b'{"\\ud83d":' + bad + b"}", b'{"a":"\\ud83d","b":' + bad + b"}"]


class StrictnessTests(SynchronousTestCase):
    def test_not_json(self) -> None:
        for bad in NOT_JSON:
            for text in [bad, *refuses_surrogates_added(bad)]:
                for read in (members, elements, value):
                    with self.assertRaises(BadJSON, msg=f"{read.__name__} {text!r}"):
                        read(text)

    def test_structure_broken_beside_a_surrogate(self) -> None:
        half = b'"\\ud83d"'
        for bad in [b"[%s", b"[%s,", b"[%s,]", b"[%s]]", b"[%s 1]", b"[%s]x", b"[%s}"]:
            self.assertRaises(BadJSON, elements, bad % half)
        for bad in [
            b"{%s}",
            b"{%s:}",
            b"{%s:1",
            b"{%s:1,}",
            b"{%s:1}}",
            b"{%s:1 2}",
            b"{%s:1}x",
            b"{%s:1,2:3}",
        ]:
            self.assertRaises(BadJSON, members, bad % half)

    def test_another_kind(self) -> None:
        for text in [b"[]", b"1", b'"a"', b"null", b"true", b'["\\ud83d"]', b'"\\ud83d"']:
            self.assertRaises(BadJSON, members, text)
        for text in [b"{}", b"1", b'"a"', b"null", b"false", b'{"\\ud83d":1}', b'"\\ud83d"']:
            self.assertRaises(BadJSON, elements, text)

    def test_nested_beyond_recursion(self) -> None:
        for opening, closing in [(b"[", b"]"), (b'{"a":', b"}")]:
            for surrogate in [b"1", b'"\\ud83d"']:
                deep = opening * 200_000 + surrogate + closing * 200_000
                for read in (members, elements, value):
                    self.assertRaises(BadJSON, read, deep)

    def test_numbers_of_any_length(self) -> None:
        digits = b"9" * 10_000
        self.assertEqual(elements(b"[" + digits + b"]"), [digits])
        self.assertEqual(elements(b'["\\ud83d",' + digits + b"]")[1], digits)
        self.assertEqual(value(b"[1e999]"), [float("inf")])

    @unhurried
    @given(st.binary(max_size=40) | st.text('{}[]":,\\u d83e1.', max_size=20).map(str.encode))
    def test_anything_reads_or_is_bad(self, text: bytes) -> None:
        for read in (members, elements, value):
            try:
                read(text)
            except BadJSON as error:
                self.assertTrue(str(error))


class SlicesTests(SynchronousTestCase):
    @unhurried
    @given(objects())
    @example((b'{ "a" : [1, 2 ] ,"\\ud83d":"\\uD83D"}', {"a": b"[1, 2 ]", "\ud83d": b'"\\uD83D"'}))
    def test_members(self, case: tuple[bytes, dict[str, bytes]]) -> None:
        text, expected = case
        self.assertEqual(members(text), expected)
        self.assertEqual(list(members(text)), list(expected))
        self.assertEqual({key: json.loads(part) for key, part in members(text).items()}, json.loads(text))

    @unhurried
    @given(arrays())
    @example((b'[ {"a" : 1 } , "\\udc00" ]', [b'{"a" : 1 }', b'"\\udc00"']))
    def test_elements(self, case: tuple[bytes, list[bytes]]) -> None:
        text, expected = case
        self.assertEqual(elements(text), expected)
        self.assertEqual([json.loads(part) for part in elements(text)], json.loads(text))

    def test_spaces_inside_stay_and_around_go(self) -> None:
        inner = b'{ "x" : [ 1 ,\r\n 2 ]\t}'
        for half in [b"", b',"\\ud83d": 1 ']:
            self.assertEqual(members(b' {\n"a" : ' + inner + b" " + half + b"} ")["a"], inner)
        for half in [b"", b', "\\ud83d"']:
            self.assertEqual(elements(b" [ " + inner + b" " + half + b"]\n")[0], inner)

    def test_of_equal_keys_the_last_counts(self) -> None:
        self.assertEqual(members(b'{"a":1,"b":2,"\\u0061":3}'), {"a": b"3", "b": b"2"})
        self.assertEqual(members(b'{"a":1,"b":"\\ud83d","\\u0061":3}')["a"], b"3")

    def test_pairs_of_surrogates_are_a_character(self) -> None:
        self.assertEqual(members(b'{"\\ud83d\\ude00":1}'), {"\U0001f600": b"1"})
        self.assertEqual(members(b'{"\\ud83d\\ude00":"\\ude00"}'), {"\U0001f600": b'"\\ude00"'})


class ValueTests(SynchronousTestCase):
    @unhurried
    @given(values)
    def test_agrees_with_the_standard_library(self, something: object) -> None:
        text = written(something)
        self.assertEqual(value(text.encode()), json.loads(text, parse_int=float))

    def test_invalid_utf_8(self) -> None:
        self.assertRaises(BadJSON, value, b'"\xff"')
        self.assertRaises(BadJSON, members, b'{"\xff":1}')
        self.assertRaises(BadJSON, elements, b'["\\ud83d", "\xff"]')


def depth(something: object) -> int:
    if isinstance(something, list):
        return 1 + max(map(depth, something), default=0)
    if isinstance(something, dict):
        return 1 + max(map(depth, something.values()), default=0)
    return 0


class DepthTests(SynchronousTestCase):
    def test_the_boundary(self) -> None:
        for opening, closing in [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"\\"]":', b"}]")]:
            step = len(opening.translate(None, b'"\\a:]'))
            for levels, expected in [(MAX_DEPTH, False), (MAX_DEPTH + step, True)]:
                text = opening * (levels // step) + b"1" + closing * (levels // step)
                self.assertIs(nests_too_deep(text), expected)

    def test_wide_and_a_little_deep(self) -> None:
        for levels in range(1, 40):
            one = b"[" * levels + b"]" * levels
            self.assertFalse(nests_too_deep(b"[" + b",".join([one] * MAX_DEPTH) + b"]"), levels)

    def test_wide_is_not_deep(self) -> None:
        self.assertFalse(nests_too_deep(b"[" + b",".join([b"{}"] * 2 * MAX_DEPTH) + b"]"))
        self.assertFalse(nests_too_deep(b"[" + b",".join([b'"[{"'] * 2 * MAX_DEPTH) + b"]"))

    @unhurried
    @given(
        st.recursive(
            st.one_of(st.integers(), tricky),
            lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(tricky, inner, max_size=3)),
            max_leaves=30,
        ),
        st.booleans(),
        st.integers(MAX_DEPTH - 12, MAX_DEPTH + 2),
        st.sampled_from([b'["]\\\\", %s]', b'["", "x", "", %s]', b"[%s]", b'["{","}", %s]']),
    )
    def test_agrees_with_counting(self, core: object, ascii_only: bool, around: int, wrap: bytes) -> None:
        text = as_bytes(written(core, ascii_only))
        for _ in range(around):
            text = wrap % text
        self.assertIs(nests_too_deep(text), around + depth(core) > MAX_DEPTH)

    @unhurried
    @given(st.binary(max_size=60).map(lambda noise: noise * 30))
    def test_answers_for_what_is_not_json(self, noise: bytes) -> None:
        self.assertIsInstance(nests_too_deep(noise), bool)


class RepairedTests(SynchronousTestCase):
    def test_lone_surrogates(self) -> None:
        self.assertEqual(repaired(rb'"\ud83d"'), rb'"\ufffd"')
        self.assertEqual(repaired(rb'"\ud83d\ude00 \ude00"'), rb'"\ud83d\ude00 \ufffd"')
        self.assertEqual(repaired(rb'"\\ud83d \uD83D\\"'), rb'"\\ud83d \ufffd\\"')
        self.assertIsNone(repaired(rb'"\u00fc"'))

    def test_what_is_no_escape_stays_what_it_is(self) -> None:
        for broken in (rb'"\ud83\ude00"', rb'"\ud83d\ude0"', rb'"\ud8"', rb'"\ud8xx"', rb'"\ud83"'):
            mended = repaired(broken)
            self.assertRaises(BadJSON, members, b'{"k":%b}' % (broken if mended is None else mended))
