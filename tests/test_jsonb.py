import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.sinks.jsonb import as_jsonb, as_string, fits_jsonb, holdable

any_text = st.text(st.characters())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=8,
)


class FitsTests(SynchronousTestCase):
    def test_it_does(self) -> None:
        for text in (
            b'{"a":[1,-0,1.50,1e5,"x",null,true]}',
            b'"\\\\u0000"',
            b'"\\\\ud83d"',
            b'"\\ud83d\\ude00"',
            b'"\xf0\x9f\x98\x80"',
            b'{"n":1e400,"m":1E-400}',
            b'"1e9999 and 3e12345"',
            b'"' + b"9" * 1000 + b'"',
            b"[" * 512 + b"]" * 512,
        ):
            self.assertTrue(fits_jsonb(text), text[:40])
            self.assertEqual(as_jsonb(text), text.decode())

    def test_it_does_not(self) -> None:
        for text in (
            b'"\\u0000"',
            b'{"\\u0000":1}',
            b'{"a":"\\u0000","a":"x"}',
            b'"\\ud83d"',
            b'"\\uDE00\\uD83D"',
            b'{"n":1e401}',
            b'{"n":[1E-9999]}',
            b"1e" + b"9" * 5000,
            b"9" * 5000,
            b"0." + b"9" * 500,
        ):
            self.assertFalse(fits_jsonb(text), text[:40])
            self.assertEqual(json.loads(as_jsonb(text)), text.decode())

    @given(values, st.booleans())
    def test_any_value(self, value: object, ascii_only: bool) -> None:
        text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        # Half of a pair that is not escaped is no UTF-8, in texts as in keys.
        value = json.loads(text.decode("utf-8", "replace"))
        written = as_jsonb(text)
        # What is written has nothing that cannot be read back from a jsonb.
        read = json.loads(written)
        again = json.dumps(read, ensure_ascii=False)
        self.assertEqual(holdable(again), again)
        again.encode()
        if isinstance(read, str) and read != value:
            self.assertEqual(read, holdable(text.decode("utf-8", "replace")))
        else:
            self.assertEqual(read, value)

    @given(
        st.sampled_from(["", "-"]),
        st.sampled_from(["0", "1", "7" * 399, "8" * 400, "9" * 401]),
        st.sampled_from(["", ".0", ".5", "." + "3" * 398, "." + "3" * 400]),
        st.sampled_from(["", "e", "E", "e+", "E-"]),
        st.sampled_from(["5", "99", "100", "400", "401", "0400", "00401", "9" * 500]),
        st.sampled_from([b"%b", b"[%b]", b"[1,%b ,2]", b'{"a":%b}', b'{"a": [\n%b]}']),
    )
    def test_any_number(self, sign: str, whole: str, part: str, e: str, exponent: str, around: bytes) -> None:
        number = sign + whole + part + (e + exponent if e else "")
        fits = len(sign + whole + part) <= 400 and (not e or (len(exponent) < 6 and int(exponent) <= 400))
        self.assertEqual(fits_jsonb(around % number.encode()), fits)

    @given(any_text)
    def test_any_text(self, text: str) -> None:
        self.assertEqual(json.loads(as_string(holdable(text).encode())), holdable(text))
        self.assertEqual(len(holdable(text)), len(text))
