"""Tokens and the keys that sign them."""

import multiprocessing
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import DataFolderUnusable, InvalidToken
from logui_tx.model import Flight
from logui_tx.registry import tokens
from logui_tx.registry.tokens import SigningKeys, TokenClaims, TokenSigner

FLIGHT = Flight("flight-id", "app-id", "Secret name", ("*",), True, "0.4.0", 0)


def make_keys(folder: str) -> None:
    SigningKeys(Path(folder)).keys()


def rotate_keys(folder: str) -> None:
    SigningKeys(Path(folder)).rotate()


class KeysTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.file = self.folder / "secret.key"
        self.clock = Clock()
        self.keys = SigningKeys(self.folder, self.clock.seconds)

    def race(self, target: object, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=target, args=(str(self.folder),)) for _ in range(count)]  # type: ignore[arg-type]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        self.assertEqual([process.exitcode for process in processes], [0] * count)


class SigningKeysTests(KeysTestCase):
    def test_made_on_first_use(self) -> None:
        self.assertFalse(self.file.exists())
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        (key,) = self.keys.keys()
        self.assertGreaterEqual(len(key), 43)
        self.assertEqual(self.file.read_text(), key + "\n")
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        self.assertEqual([file.name for file in self.folder.iterdir()], ["secret.key"])

    def test_kept(self) -> None:
        self.assertEqual(self.keys.keys(), SigningKeys(self.folder).keys())

    def test_rotate_puts_the_new_key_first(self) -> None:
        (old,) = self.keys.keys()
        self.keys.rotate()
        new, *others = self.keys.keys()
        self.assertEqual(others, [old])
        self.assertNotEqual(new, old)
        self.assertEqual(self.file.read_text(), f"{new}\n{old}\n")
        self.assertEqual([file.name for file in self.folder.iterdir()], ["secret.key"])

    def test_rotate_keeps_the_mode(self) -> None:
        self.keys.keys()
        self.file.chmod(0o640)
        self.keys.rotate()
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o640)

    def test_a_rotation_elsewhere_is_noticed_within_half_a_second(self) -> None:
        before = self.keys.keys()
        other = SigningKeys(self.folder)
        other.rotate()
        self.clock.advance(0.49)
        self.assertEqual(self.keys.keys(), before)
        self.clock.advance(0.01)
        self.assertEqual(self.keys.keys(), other.keys())

    def test_a_lost_file_does_not_stop_a_running_server(self) -> None:
        before = self.keys.keys()
        content = self.file.read_text()
        with self.assertLogs("logui_tx.registry.tokens", "WARNING") as logs:
            self.file.unlink()
            for _ in range(5):
                self.clock.advance(1)
                self.assertEqual(self.keys.keys(), before)
            self.file.write_text("")
            self.clock.advance(1)
            self.assertEqual(self.keys.keys(), before)
        self.assertEqual(len(logs.records), 1)
        self.assertNotIn(before[0], logs.output[0])
        self.file.write_text("another\n" + content)
        self.clock.advance(1)
        self.assertEqual(self.keys.keys(), ("another", *before))

    def test_empty_file(self) -> None:
        self.file.write_text(" \n\n")
        error = self.assertRaises(DataFolderUnusable, self.keys.keys)
        self.assertIn("no key in it", str(error))

    def test_unreadable_file(self) -> None:
        self.file.mkdir()
        self.assertRaises(DataFolderUnusable, self.keys.keys)
        self.assertRaises(DataFolderUnusable, self.keys.rotate)

    def test_no_folder(self) -> None:
        self.assertRaises(DataFolderUnusable, SigningKeys(self.folder / "absent").keys)

    def test_readable_by_others_is_a_warning(self) -> None:
        self.file.write_text("key\n")
        self.file.chmod(0o644)
        with self.assertLogs("logui_tx.registry.tokens", "WARNING") as logs:
            self.assertEqual(self.keys.keys(), ("key",))
        self.assertIn("chmod 600", logs.output[0])

    def test_another_process_is_quicker(self) -> None:
        """Between our look for the file and our making it, another process makes it."""

        def overtaken() -> str:
            self.file.write_text("theirs\n")
            self.file.chmod(0o600)
            return "ours"

        self.patch(tokens, "_new_key", overtaken)
        self.assertEqual(self.keys.keys(), ("theirs",))

    def test_processes_that_race_end_with_one_file(self) -> None:
        self.race(make_keys, 6)
        self.assertEqual(len(self.keys.keys()), 1)

    def test_rotations_that_race_lose_no_key(self) -> None:
        self.keys.keys()
        self.race(rotate_keys, 6)
        self.assertEqual(len(SigningKeys(self.folder).keys()), 7)


class TokenTests(KeysTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.signer = TokenSigner(self.keys)
        self.token = self.signer.issue(FLIGHT)

    def refused(self, token: str) -> None:
        error = self.assertRaises(InvalidToken, self.signer.read, token)
        self.assertIn("token", str(error))
        if len(token) > 4:
            self.assertNotIn(token[:40], str(error))
        self.assertIsNone(error.__cause__)
        self.assertTrue(error.__suppress_context__ or error.__context__ is None)

    def test_round_trip(self) -> None:
        self.assertEqual(self.signer.read(self.token), TokenClaims("app-id", "flight-id", "0.4.0"))
        self.assertTrue(self.token.isascii())

    def test_an_older_key_verifies_the_newest_signs(self) -> None:
        self.keys.rotate()
        self.assertEqual(self.signer.read(self.token).flight_id, "flight-id")
        new, _old = self.keys.keys()
        newer = self.signer.issue(FLIGHT)
        self.assertNotEqual(newer, self.token)
        self.file.write_text(new + "\n")
        self.clock.advance(1)
        self.assertEqual(self.signer.read(newer).flight_id, "flight-id")
        self.refused(self.token)

    def test_another_servers_token(self) -> None:
        folder = self.folder / "other"
        folder.mkdir()
        self.refused(TokenSigner(SigningKeys(folder)).issue(FLIGHT))

    def test_another_salt(self) -> None:
        serializer = URLSafeSerializer(self.keys.keys()[0], salt=b"other")
        self.refused(str(serializer.dumps({"appID": "a", "flightID": "f", "clientVersion": "0.4.0"})))

    def test_signed_but_not_a_flights(self) -> None:
        signature = self.signer._signature
        for content in [
            None,
            [],
            "text",
            1,
            {},
            {"appID": "a", "flightID": "f"},
            {"appID": "a", "flightID": "f", "clientVersion": None},
            {"appID": 1, "flightID": "f", "clientVersion": "v"},
        ]:
            self.refused(str(signature.sign(content)))

    def test_nonsense(self) -> None:
        for token in [
            "",
            ".",
            "..",
            "a.b",
            "\u00fc" + self.token,
            self.token + "\u00fc",
            "\ud800",
            "a" * 10_000_000,
        ]:
            self.refused(token)

    def test_every_character_counts(self) -> None:
        for position in range(len(self.token)):
            for character in "AB.=-!":
                if self.token[position] != character:
                    self.refused(self.token[:position] + character + self.token[position + 1 :])
        for other in [self.token[:-1], self.token[1:], self.token + "=", self.token + "A", " " + self.token]:
            self.refused(other)

    def test_the_free_bits_of_the_last_character_count_too(self) -> None:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        for character in alphabet.replace(self.token[-1], ""):
            self.refused(self.token[:-1] + character)

    @settings(deadline=None)
    @given(st.text(max_size=200))
    def test_any_text_is_refused(self, token: str) -> None:
        self.refused(token)
