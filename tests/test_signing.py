"""Values that are signed; tokens, cookies and tickets have tests of their own."""

from itsdangerous import base64_decode, base64_encode
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.registry.signing import Signature


class SignatureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keys: tuple[str, ...] = ("one",)
        self.signature = Signature(lambda: self.keys, b"salt", longest=100)

    def test_any_value(self) -> None:
        for value in ("text", 1, [1, None, "\U0001f600"], {"a": {}}, True):
            self.assertEqual(self.signature.read(self.signature.sign(value)), value)

    def test_keys_rotate(self) -> None:
        old = self.signature.sign("old")
        self.keys = ("two", "one")
        new = self.signature.sign("new")
        self.assertEqual((self.signature.read(old), self.signature.read(new)), ("old", "new"))
        self.keys = ("two",)
        self.assertEqual((self.signature.read(old), self.signature.read(new)), (None, "new"))

    def test_another_purpose(self) -> None:
        other = Signature(lambda: self.keys, b"pepper")
        self.assertIsNone(other.read(self.signature.sign("x")))

    def test_too_long(self) -> None:
        long = Signature(lambda: self.keys, b"salt")
        signed = long.sign([str(number) for number in range(100)])
        self.assertEqual((self.signature.read(signed), len(long.read(signed))), (None, 100))

    def test_one_text_a_value(self) -> None:
        """The last bits of base64 are free."""
        head, _, tail = self.signature.sign("x").rpartition(".")
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        raw = base64_decode(tail)
        same = [text for text in (tail[:-1] + letter for letter in letters) if base64_decode(text) == raw]
        self.assertGreater(len(same), 1)
        self.assertEqual([self.signature.read(f"{head}.{text}") for text in same].count("x"), 1)
        self.assertEqual(base64_encode(raw).decode(), tail)

    def test_nonsense(self) -> None:
        for text in ("", ".", "a.b", "\u00fc", "\ud800", "\0"):
            self.assertIsNone(self.signature.read(text))
