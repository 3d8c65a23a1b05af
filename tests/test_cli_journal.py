"""The commands ``logui journal info`` and ``check``; and what all commands read of the configuration."""

import json
from pathlib import Path

from logui_tx.cli.main import load_config
from logui_tx.errors import BadOption
from logui_tx.journal.schema import FILE, open_journal
from tests.test_cli_export import ExportCommandTestCase


class InfoTests(ExportCommandTestCase):
    def test_counts(self) -> None:
        self.log("s1", 1, 2)
        self.log("s2", 3)
        found = self.json("journal", "info")
        size = sum(
            path.stat().st_size for path in self.folder.glob(f"{FILE}*") if path.suffix != ".sqlite-shm"
        )
        self.assertEqual(list(found), ["id", "events", "sessions", "segments", "bytes"])
        self.assertEqual((found["events"], found["sessions"], found["segments"]), (3, 2, 2))
        self.assertEqual(found["id"], self.lines()[0]["recordID"][:36])
        self.assertGreater(found["bytes"], (self.folder / FILE).stat().st_size)
        self.assertEqual(found["bytes"], size)
        self.assertIn(found["id"], self.succeeds("journal", "info"))


class CheckTests(ExportCommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        for n in range(3):
            self.log(f"s{n}", n)

    def test_sound(self) -> None:
        self.assertIn("sound", self.succeeds("journal", "check"))
        self.assertEqual(self.json("journal", "check"), {"sound": True, "segments": [], "database": []})

    def test_damaged_segments(self) -> None:
        connection = open_journal(self.folder)
        connection.execute("UPDATE segment SET block = x'07' WHERE id IN (1, 3)")
        connection.close()
        result = self.invoke("journal", "check")
        self.assertEqual((result.exit_code, result.stderr), (1, ""))
        named = [line.split(":")[0] for line in result.stdout.splitlines()]
        self.assertEqual(named, ["segment 1 is damaged", "segment 3 is damaged"])
        result = self.invoke("journal", "check", "--json")
        self.assertEqual(result.exit_code, 1)
        found = json.loads(result.stdout)
        self.assertEqual((found["sound"], [each["segment"] for each in found["segments"]]), (False, [1, 3]))

    def test_a_damaged_database(self) -> None:
        self.journal.stop()
        path = self.folder / FILE
        content = bytearray(path.read_bytes())
        # All pages but the first, which holds the tables' names.
        content[4096:] = bytes(byte ^ 0x55 for byte in content[4096:])
        path.write_bytes(content)
        for arguments in (
            ["journal", "check"],
            ["journal", "info"],
            ["session", "list"],
            ["export", "--flight", "F"],
        ):
            result = self.invoke(*arguments)
            self.assertEqual(result.exit_code, 1, arguments)
            self.assertNotIn("Traceback", result.output)
            self.assertRegex(result.output, "damaged|malformed|not a database|corrupt")

    def test_a_damaged_index(self) -> None:
        connection = open_journal(self.folder)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, '(flight_id)', '(dialect)') WHERE type = 'index'"
        )
        connection.close()
        result = self.invoke("journal", "check")
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertIn("the database is damaged: ", result.stdout)
        self.assertIn("session_of_flight", result.stdout)


class ConfigurationTests(ExportCommandTestCase):
    def test_unknown_keys_are_refused(self) -> None:
        config = self.place / "logui.toml"
        config.write_text("data-dri = 'x'\n")
        error = self.fails("--config", str(config), "journal", "info")
        self.assertIn("did you mean 'data-dir'", error)
        self.assertRaises(BadOption, load_config, Path(config))
        config.write_text("data-dir = 'x'\nmax-events = 3\n")
        self.assertEqual(load_config(config), {"data-dir": "x"})
