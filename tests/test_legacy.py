"""Tokens that a released LogUI server signed."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from django.core import signing
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadOption, InvalidToken, KeysUnusable
from logui_tx.registry.legacy import LegacyTokens, read_keys, read_legacy
from logui_tx.registry.tokens import SigningKeys, TokenClaims, TokenSigner

KEY = "n0t-a-secret(any=more)$&x2k!"
CLAIMS = {"type": "logUI-authorisation-object", "applicationID": "A", "flightID": "F"}
EXPECTED = TokenClaims("A", "F", "0.5")


def sign(told: Any = CLAIMS, key: str = KEY, algorithm: str = "sha256", **more: Any) -> str:
    signer = signing.TimestampSigner(
        key=key, salt="django.core.signing", algorithm=algorithm, fallback_keys=[]
    )
    return signer.sign_object(told, **more)


class FolderTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def file(self, content: str | bytes) -> Path:
        path = self.folder / "legacy.key"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


class KeyFileTests(FolderTestCase):
    def test_keys(self) -> None:
        for content, keys in [
            (KEY, (KEY,)),
            (f"  {KEY}\r\n\n{KEY}\nanother\n", (KEY, "another")),
            (f"\ufeff{KEY}", (KEY,)),
            ("a=b#c\n", ("a=b#c",)),
            ("Schl\u00fcssel", ("Schl\u00fcssel",)),
            (f"DEBUG=False\nSECRET_KEY={KEY}\nPASSWORD=x\n", (KEY,)),
            (f"export SECRET_KEY = {KEY}", (KEY,)),
            (f"SECRET_KEY='{KEY}'", (f"'{KEY}'", KEY)),
            (f'"{KEY}"', (f'"{KEY}"', KEY)),
            ("MY_SECRET_KEY=x", ("MY_SECRET_KEY=x",)),
        ]:
            self.assertEqual(read_keys(self.file(content)), keys, content)

    def test_none(self) -> None:
        for content in ("", " \n\t\n", "SECRET_KEY=\nPASSWORD=geheim", "SECRET_KEY=''"):
            error = self.assertRaises(KeysUnusable, read_keys, self.file(content))
            self.assertNotIn("geheim", str(error))

    def test_unreadable(self) -> None:
        for path, why in [
            (self.folder / "nothing", "No such file"),
            (self.folder, "directory"),
            (self.file(b"\xffgeheim"), "not text"),
        ]:
            error = self.assertRaises(KeysUnusable, read_keys, path)
            self.assertIn(why, str(error))
            self.assertIn(str(path), str(error))
            self.assertNotIn("geheim", str(error))
        self.assertIn("too large", str(self.assertRaises(KeysUnusable, read_keys, self.file("x" * 70_000))))

    def test_a_short_key_is_accepted_with_a_warning(self) -> None:
        with self.assertLogs("logui_tx.registry.legacy", "WARNING") as logs:
            self.assertEqual(read_keys(self.file("geheim")), ("geheim",))
        self.assertNotIn("geheim", "".join(logs.output))

    def test_no_file(self) -> None:
        self.assertIsNone(read_legacy(None))

    def test_without_django(self) -> None:
        with patch.dict(sys.modules, {"django.core": None}):
            error = self.assertRaises(BadOption, read_legacy, self.file(KEY))
        self.assertIn("logui-tx[legacy]", str(error))
        self.assertNotIn(KEY, str(error))


class TokenTests(FolderTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.read = LegacyTokens((KEY, "another-key")).read

    def test_accepted(self) -> None:
        for token in (
            sign(),
            sign(algorithm="sha1"),
            sign(compress=True),
            sign({**CLAIMS, "more": "x" * 500}, compress=True),
            sign(key="another-key"),
            sign(key="another-key", algorithm="sha1"),
        ):
            self.assertEqual(self.read(token), EXPECTED)

    def test_recorded(self) -> None:
        """The token of the recorded conversations: nobody here knows its key, but its form is read."""
        text = (Path(__file__).parent / "data" / "logui-0.5" / "full.jsonl").read_text()
        token = text.partition('authorisationToken\\":\\"')[2].partition("\\")[0]
        self.assertEqual(token.count(":"), 2)
        self.assertIsNone(self.read(token))

    def test_refused(self) -> None:
        good = sign()
        for token in (
            sign(key="yet another"),
            sign(algorithm="sha512"),
            sign(algorithm="md5"),
            sign({**CLAIMS, "type": "another"}),
            sign({**CLAIMS, "flightID": None}),
            sign({key: CLAIMS[key] for key in ("applicationID", "flightID")}),
            sign("text"),
            good + ":",
            good[1:],
            good[:-1],
            good.partition(":")[0],
            sign({**CLAIMS, "more": "x" * 5000}),
            "\u00fc" + good,
            "",
            ":",
        ):
            self.assertIsNone(self.read(token), token)

    def test_signed_nonsense(self) -> None:
        """What the key has signed for another purpose may be of any form."""
        for algorithm in ("sha256", "sha1"):
            signer = signing.TimestampSigner(
                key=KEY, salt="django.core.signing", algorithm=algorithm, fallback_keys=[]
            )
            plain = signing.Signer(key=KEY, salt="django.core.signing", algorithm=algorithm, fallback_keys=[])
            for content in ("x", "%%%", ".x", ".eJw", "W1tb", signing.b64_encode(b"[" * 2000).decode(), ""):
                self.assertIsNone(self.read(signer.sign(content)), content)
                self.assertIsNone(self.read(plain.sign(content)), content)

    @given(st.text(max_size=100) | st.text("abc.:-_=", max_size=60))
    def test_whatever_it_is(self, token: str) -> None:
        self.assertIsNone(LegacyTokens((KEY,)).read(token))

    def test_beside_our_own(self) -> None:
        keys = SigningKeys(self.folder)
        signer = TokenSigner(keys, self.read)
        self.assertEqual(signer.read(sign()), EXPECTED)
        self.assertRaises(InvalidToken, signer.read, sign(key="yet another"))
        self.assertRaises(InvalidToken, TokenSigner(keys).read, sign())
