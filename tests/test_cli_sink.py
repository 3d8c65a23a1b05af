"""``logui sink``: what it shows, and what it changes."""

from typing import Any

from logui_tx.data_folder import lock
from logui_tx.journal import cursors
from logui_tx.journal.cursors import DeadLetter
from logui_tx.journal.schema import open_journal, transaction
from logui_tx.model import Position
from tests.test_cli_export import ExportCommandTestCase


class SinkCommandTests(ExportCommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        for n in range(3):
            self.log(f"s{n}", 2 * n, 2 * n + 1)
        self.connection = open_journal(self.folder)
        self.addCleanup(self.connection.close)
        with transaction(self.connection):
            cursors.add(self.connection, "a", Position(2, 1))
            cursors.add(self.connection, "b\x1b[31m", Position(4))
            cursors.troubled(self.connection, "a", "no\x1b route", 1_760_000_000_000)
            letters = [DeadLetter(1, 1, "s0", 5, "bad \ud83d"), DeadLetter(1, None, "s0", 6, "worse")]
            cursors.refused(self.connection, "a", letters)

    def cursor(self, name: str = "a") -> cursors.Cursor:
        found = cursors.cursor(self.connection, name)
        assert found is not None
        return found

    def test_status(self) -> None:
        a, b = self.json("sink", "status")
        self.assertGreater(a.pop("lag"), 1000)
        self.assertEqual(
            a,
            {
                "name": "a",
                "state": "failing",
                "configured": True,
                "behind": 3,
                "delivered": 0,
                "deadLetters": 2,
                "segment": 2,
                "event": 1,
                "trouble": "no\x1b route",
                "troubleSince": 1_760_000_000_000,
            },
        )
        self.assertEqual((b["state"], b["behind"], b["lag"]), ("delivering", 0, 0))
        text = self.succeeds("sink", "status")
        self.assertNotIn("\x1b", text)
        self.assertIn(r"no\x1b route (since 2025-10-09 08:53 UTC)", text)

    def test_one_that_is_not_configured(self) -> None:
        with transaction(self.connection):
            cursors.configure(self.connection, ["new", "c"])
            cursors.add(self.connection, "c", Position(1))
        self.assertEqual([one["configured"] for one in self.json("sink", "status")], [False, False, True])
        text = self.succeeds("sink", "status")
        self.assertIn("“a” is not configured, and 3 events behind: configure its URI again", text)
        self.assertEqual(text.count("is not configured"), 1, "nothing is to be done where nothing lacks")
        self.assertEqual(text.count(" not configured  "), 2)

    def test_letters(self) -> None:
        found: list[dict[str, Any]] = self.json("sink", "letters", "a")
        journal = self.json("journal", "info")["id"]
        self.assertEqual([one["recordID"] for one in found], [f"{journal}-1-1", None])
        self.assertEqual([one["reason"] for one in found], ["bad \\ud83d", "worse"])
        self.assertIn("(the session itself)", self.succeeds("sink", "letters", "a"))

    def test_pause_and_resume(self) -> None:
        self.succeeds("sink", "pause", "a")
        self.assertTrue(self.cursor().paused)
        self.assertEqual(self.json("sink", "status")[0]["state"], "paused")
        self.succeeds("sink", "resume", "a")
        self.assertFalse(self.cursor().paused)

    def test_retry(self) -> None:
        self.assertIn("2 dead letters", self.succeeds("sink", "retry", "a"))
        self.assertTrue(self.cursor().retry)

    def test_rewind(self) -> None:
        times = self.connection.execute("SELECT first_received FROM segment ORDER BY id").fetchall()
        for place, expected, behind in [
            ("beginning", Position(), 6),
            ("end", Position(4), 0),
            (str(times[1][0]), Position(2), 4),
            ("2000-01-01", Position(1), 6),
            ("2100-01-01T00:00:00Z", Position(4), 0),
        ]:
            before = self.cursor().generation
            text = self.succeeds("sink", "rewind", "a", "--to", place, "--yes")
            self.assertEqual((self.cursor().position, self.cursor().generation), (expected, before + 1))
            self.assertIn(f"goes on {behind} events", text)
        result = self.invoke("sink", "rewind", "a", "--to", "then", "--yes")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("is not a time", result.stderr)
        self.assertNotEqual(self.invoke("sink", "rewind", "a", "--to", "end").exit_code, 0)

    def test_forget(self) -> None:
        self.succeeds("sink", "forget", "a", "--yes")
        self.assertEqual([one["name"] for one in self.json("sink", "status")], ["b\x1b[31m"])
        self.assertEqual(cursors.dead_letters(self.connection, "a"), [])

    def test_forget_what_a_server_delivers_to(self) -> None:
        """It would begin anew at the journal's end, without what it lacks."""
        with transaction(self.connection):
            cursors.configure(self.connection, ["a"])
        with lock(self.folder):
            result = self.invoke("sink", "forget", "a", "--yes")
            self.assertEqual(result.exit_code, 1)
            self.assertIn("the server delivers to 'a': take it out of the configuration", result.stderr)
            self.assertEqual(self.cursor().dead_letters, 2)
            self.succeeds("sink", "forget", "b\x1b[31m", "--yes")
        self.succeeds("sink", "forget", "a", "--yes")
        self.assertEqual(self.json("sink", "status"), [])

    def test_an_unknown_sink(self) -> None:
        for command in (["pause"], ["resume"], ["retry"], ["letters"], ["forget"], ["rewind", "--to", "end"]):
            result = self.invoke("sink", *command, "c")
            self.assertEqual(result.exit_code, 1, command)
            self.assertIn("there is no sink 'c'; known are a, b", result.stderr)
