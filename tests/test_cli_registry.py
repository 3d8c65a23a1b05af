"""The commands ``logui application``, ``flight`` and ``key``."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.cli.main import load_config, main
from logui_tx.cli.output import printable
from logui_tx.errors import BadOption
from logui_tx.model import LISTENERS
from logui_tx.registry.tokens import SigningKeys, TokenSigner


class CommandTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(self.enterContext(TemporaryDirectory())).resolve()
        self.folder = self.place / "logui-data"

    def run_bare(self, *arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, input=stdin)

    def invoke(self, *arguments: str, stdin: str | None = None) -> Result:
        return self.run_bare("--data-dir", str(self.folder), *arguments, stdin=stdin)

    def succeeds(self, *arguments: str, stdin: str | None = None) -> str:
        result = self.invoke(*arguments, stdin=stdin)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.succeeds(*arguments, "--json"))

    def fails(self, *arguments: str, status: int = 1) -> str:
        """What stands on stderr, which for a status of 1 is one line of ours."""
        result = self.invoke(*arguments)
        self.assertEqual(result.exit_code, status, result.output)
        self.assertEqual(result.stdout, "")
        self.assertNotIn("Traceback", result.stderr)
        if status == 1:
            self.assertTrue(result.stderr.startswith("logui: "), result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1)
        return result.stderr

    def make_flight(self, name: str = "F", *domains: str) -> Any:
        options = [option for domain in domains or ("*",) for option in ("--domain", domain)]
        return self.json("flight", "create", "--application", "App", "--name", name, *options)


class ApplicationCommandTests(CommandTestCase):
    def test_create_and_list(self) -> None:
        made = self.json("application", "create", "My study")
        self.assertEqual(list(made), ["id", "name"])
        self.assertEqual(made["name"], "My study")
        self.assertEqual(self.json("application", "list"), [made])
        table = self.succeeds("application", "list")
        self.assertIn("My study", table)
        self.assertIn(made["id"], table)
        self.assertIn("Other", self.succeeds("application", "create", "Other"))

    def test_empty_list(self) -> None:
        self.assertEqual(self.json("application", "list"), [])
        self.assertIn("no applications yet", self.succeeds("application", "list"))
        self.assertIn("no flights yet", self.succeeds("flight", "list"))

    def test_the_folder_is_private(self) -> None:
        self.succeeds("application", "list")
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    def test_delete_asks(self) -> None:
        self.json("application", "create", "App")
        flight = self.make_flight()
        refused = self.invoke("application", "delete", "App", stdin="n\n")
        self.assertEqual(refused.exit_code, 1)
        self.assertIn("App", refused.stderr)
        self.assertIn("its flight", refused.stderr)
        self.assertEqual(self.json("flight", "list")[0]["id"], flight["id"])
        self.succeeds("application", "delete", "App", stdin="y\n")
        self.assertEqual(self.json("application", "list"), [])
        self.assertEqual(self.json("flight", "list"), [])

    def test_delete_unasked(self) -> None:
        made = self.json("application", "create", "App")
        self.assertEqual(self.json("application", "delete", made["id"], "--yes"), made)
        self.assertIn("no application", self.fails("application", "delete", "App", "--yes"))

    def test_bad_names(self) -> None:
        self.succeeds("application", "create", "App")
        self.assertIn("already", self.fails("application", "create", "App"))
        self.assertIn("empty", self.fails("application", "create", " "))
        self.assertIn("control", self.fails("application", "create", "a\x1b[31m"))
        self.assertIn("encoding", self.fails("application", "create", "a\udcff"))


class FlightCommandTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.application = self.json("application", "create", "App")

    def test_create(self) -> None:
        made = self.make_flight("F", "Example.org", "localhost:8080")
        token = made.pop("token")
        self.assertEqual(
            made,
            {
                "id": made["id"],
                "applicationID": self.application["id"],
                "name": "F",
                "domains": ["example.org", "localhost:8080"],
                "active": True,
                "clientVersion": "0.4.0",
                "listeners": list(LISTENERS),
                "sampleMoves": 0,
                "metadata": {},
                "strictSessions": False,
            },
        )
        claims = TokenSigner(SigningKeys(self.folder)).read(token)
        self.assertEqual((claims.app_id, claims.flight_id), (self.application["id"], made["id"]))
        self.assertEqual(self.json("flight", "list"), [made])
        self.assertEqual(self.json("flight", "list", "--application", "App"), [made])
        self.assertEqual(self.json("flight", "show", "F"), made)
        self.assertEqual(self.json("flight", "token", "F"), {"id": made["id"], "token": token})
        self.assertEqual(self.succeeds("flight", "token", made["id"]), token + "\n")

    def test_the_token_has_a_line_of_its_own(self) -> None:
        text = self.succeeds("flight", "create", "--application", "App", "--name", "F", "--domain", "*")
        token = self.succeeds("flight", "token", "F").strip()
        self.assertIn(token, text.splitlines())

    def test_tables(self) -> None:
        made = self.make_flight("[bold]F[/bold]", *(f"host-{number}.example.org" for number in range(20)))
        for text in (self.succeeds("flight", "list"), self.succeeds("flight", "show", made["id"])):
            (line,) = (line for line in text.splitlines() if "host-0.example.org" in line)
            self.assertIn("host-19.example.org", line)
            self.assertIn("[bold]F[/bold]", text)
            self.assertIn(made["id"], text)
            self.assertIn("App", text)
            self.assertNotIn("\x1b", text)

    def test_enable_and_disable(self) -> None:
        made = self.make_flight()
        self.assertIs(self.json("flight", "disable", "F")["active"], False)
        self.assertIs(self.json("flight", "show", made["id"])["active"], False)
        self.assertIn("active now", self.succeeds("flight", "enable", made["id"]))
        self.assertIs(self.json("flight", "show", "F")["active"], True)

    def test_delete(self) -> None:
        self.make_flight()
        self.assertEqual(self.invoke("flight", "delete", "F").exit_code, 1)
        self.assertEqual(len(self.json("flight", "list")), 1)
        self.assertIn("deleted", self.succeeds("flight", "delete", "F", "--yes"))
        self.assertEqual(self.json("flight", "list"), [])

    def test_mistakes(self) -> None:
        self.make_flight()
        create = ("flight", "create", "--application", "App", "--name")
        self.assertIn("no flight 'G'", self.fails("flight", "show", "G"))
        self.assertIn("no application 'B'", self.fails("flight", "list", "--application", "B"))
        self.assertIn("already", self.fails(*create, "F", "--domain", "*"))
        self.assertIn("write example.org", self.fails(*create, "G", "--domain", "http://example.org"))
        self.assertIn("--domain", self.fails(*create, "G", status=2))
        self.assertIn("No such command", self.fails("flight", "fly", status=2))

    def test_an_ambiguous_name(self) -> None:
        self.make_flight()
        self.json("application", "create", "B")
        self.json("flight", "create", "--application", "B", "--name", "F", "--domain", "*")
        self.assertIn("by its id", self.fails("flight", "show", "F"))


class FlightSettingTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.json("application", "create", "App")

    def test_create(self) -> None:
        made = self.json(
            *("flight", "create", "--application", "App", "--name", "F", "--domain", "*"),
            *("--listener", "scroll", "--listener", "mousemove"),
            *("--sample-moves", "50ms", "--metadata", '{"a": [1.5]}', "--strict-sessions"),
        )
        self.assertIs(made["strictSessions"], True)
        self.assertEqual(made["listeners"], ["mousemove", "scroll"])
        self.assertEqual((made["sampleMoves"], made["metadata"]), (50, {"a": [1.5]}))
        text = self.succeeds("flight", "show", "F")
        for shown in ("mousemove, scroll", "one in 50 ms", '{"a":[1.5]}', "Strict sessions  yes"):
            self.assertIn(shown, text)

    def test_set(self) -> None:
        expected = self.make_flight("F", "localhost")
        del expected["token"]
        for options, change in [
            (["--listener", "scroll"], {"listeners": ["scroll"]}),
            (["--listener", "custom"], {"listeners": ["custom"]}),
            (["--domain", "a.org", "--domain", "b.org"], {"domains": ["a.org", "b.org"]}),
            (["--sample-moves", "1.5s"], {"sampleMoves": 1500}),
            (["--metadata", '{"a": 1}'], {"metadata": {"a": 1}}),
            (["--listener", "none"], {"listeners": []}),
            (["--all-listeners", "--sample-moves", "0"], {"listeners": list(LISTENERS), "sampleMoves": 0}),
            (["--strict-sessions"], {"strictSessions": True}),
            (["--name", "G", "--metadata", "{}"], {"name": "G", "metadata": {}}),
            (["--no-strict-sessions"], {"strictSessions": False}),
        ]:
            expected |= change  # all else stays
            self.assertEqual(self.json("flight", "set", expected["id"], *options), expected)
            self.assertEqual(self.json("flight", "show", expected["id"]), expected)
        self.assertIn("G", self.succeeds("flight", "set", "G", "--listener", "none"))
        text = self.succeeds("flight", "show", "G")
        for shown in ("Listeners        none", "every one"):
            self.assertIn(shown, text)

    def test_mistakes(self) -> None:
        self.make_flight("F")
        self.make_flight("G")

        def fails(*options: str, status: int = 1) -> str:
            return self.fails("flight", "set", "F", *options, status=status)

        nothing = fails(status=2)
        settings = ("domain", "listener", "all-listeners", "sample-moves", "metadata", "strict-sessions")
        for name in ("name", *settings):
            self.assertIn(f"--{name}", nothing)
        self.assertIn("did you mean 'mouseclick'?", fails("--listener", "mouseclik"))
        self.assertIn("no other", fails("--listener", "none", "--listener", "scroll", status=2))
        self.assertIn("exclude", fails("--listener", "scroll", "--all-listeners", status=2))
        self.assertIn("a time is expected", fails("--sample-moves", "often", status=2))
        self.assertIn("0 to 3600 seconds", fails("--sample-moves", "2h"))
        self.assertIn("JSON object", fails("--metadata", "[]"))
        self.assertIn("already", fails("--name", "G"))
        self.assertIn("leave out the scheme", fails("--domain", "https://x.org"))
        self.assertIn("no flight", self.fails("flight", "set", "H", "--name", "I"))


class KeyCommandTests(CommandTestCase):
    def test_rotate(self) -> None:
        self.json("application", "create", "App")
        made = self.make_flight()
        self.assertEqual(self.json("key", "rotate"), {"keys": 2})
        self.assertNotEqual(self.json("flight", "token", "F")["token"], made["token"])
        text = self.succeeds("key", "rotate")
        self.assertIn("3 keys", text)
        for key in (self.folder / "secret.key").read_text().split():
            self.assertNotIn(key, text)
        keys = SigningKeys(self.folder)
        self.assertEqual(TokenSigner(keys).read(made["token"]).flight_id, made["id"])

    def test_create(self) -> None:
        file = self.place / "shared.key"
        self.json("application", "create", "App")
        made = self.make_flight()
        option = ("--secret-key-file", str(file))
        for command in (["key", "rotate"], ["flight", "token", "F"]):
            self.assertIn("logui key create", self.fails(*option, *command))
        self.assertEqual(self.json(*option, "key", "create"), {"created": True, "keys": 1})
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        before = file.read_text()
        self.assertEqual(self.json(*option, "key", "create"), {"created": False, "keys": 1})
        self.assertIn("left alone", self.succeeds(*option, "key", "create"))
        self.assertEqual(file.read_text(), before)
        token = self.json(*option, "flight", "token", "F")["token"]
        self.assertEqual(TokenSigner(SigningKeys(self.place, file=file)).read(token).flight_id, made["id"])
        self.assertNotEqual(token, made["token"])
        self.assertEqual(self.json(*option, "key", "rotate"), {"keys": 2})
        self.assertEqual(len((self.folder / "secret.key").read_text().split()), 1)
        other = self.place / "other.key"
        text = self.succeeds("--secret-key-file", str(other), "key", "create")
        self.assertIn(str(other), text)
        self.assertNotIn(other.read_text().strip(), text)

    def test_the_file_of_the_configuration(self) -> None:
        config = self.place / "logui.toml"
        config.write_text(f"secret-key-file = '{self.place}/configured.key'")
        self.json("--config", str(config), "key", "create")
        self.assertTrue((self.place / "configured.key").exists())
        config.write_text("secret-key-file = 1")
        self.assertIn("secret-key-file", self.fails("--config", str(config), "key", "create"))


class OptionTests(CommandTestCase):
    def write(self, text: str | bytes) -> str:
        path = self.place / "logui.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def test_config(self) -> None:
        elsewhere = self.folder.with_name("elsewhere")
        config = self.write(f"data-dir = '{elsewhere}'\nlisten = ['tcp:1']\n")
        self.assertEqual(self.run_bare("--config", config, "application", "create", "App").exit_code, 0)
        self.assertTrue((elsewhere / "registry.sqlite").exists())
        self.assertEqual(self.json("--config", config, "application", "list"), [], "the option wins")

    def test_database(self) -> None:
        database = self.folder.with_name("other.sqlite")
        config = self.write(f"database = 'sqlite:///{database}'\n")
        self.succeeds("--config", config, "application", "create", "App")
        self.assertFalse((self.folder / "registry.sqlite").exists())
        self.assertEqual(len(self.json("--database", f"sqlite:///{database}", "application", "list")), 1)

    def test_bad_config(self) -> None:
        for text in ["data-dir = ", "data-dir = 1", "database = ['x']", b"\xff"]:
            path = self.write(text)
            self.assertIn(path, self.fails("--config", path, "application", "list"))
            self.assertRaises(BadOption, load_config, Path(path))
        self.assertIn("cannot be read", self.fails("--config", "/nonexistent", "application", "list"))

    def test_bad_database(self) -> None:
        for uri, why in [
            ("mysql://me:hunter2@h/db", "sqlite:///PATH"),
            ("postgresql://me:hunter2@h/db?colour=red", '"colour"'),
            ("postgresql://me:hunter2@127.0.0.1:1/db", "refused"),
        ]:
            text = self.fails("--database", uri, "application", "list")
            self.assertIn(why, text)
            self.assertNotIn("hunter2", text)

    def test_the_folder_is_a_file(self) -> None:
        self.folder.write_text("")
        self.assertIn("data folder", self.fails("application", "list"))

    def test_help_is_quick_and_makes_nothing(self) -> None:
        code = (
            "import sys; from click.testing import CliRunner; from logui_tx.cli.main import main;"
            "result = CliRunner().invoke(main, ['--help']);"
            "assert result.exit_code == 0 and 'application' in result.output, result.output;"
            "slow = {'sqlalchemy', 'alembic', 'rich', 'twisted', 'itsdangerous'};"
            "assert not slow & {name.split('.')[0] for name in sys.modules}"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
        self.assertEqual(self.run_bare("flight", "--help").exit_code, 0)
        self.assertFalse(Path("logui-data").exists())

    def test_version(self) -> None:
        self.assertIn("0.", self.run_bare("--version").output)


class PrintableTests(SynchronousTestCase):
    def test_what_a_terminal_would_obey_is_escaped(self) -> None:
        self.assertEqual(printable("a\x1b[2J\n\u202e\x9b\udc80"), "a\\x1b[2J\\n\\u202e\\x9b\\udc80")

    def test_ordinary_text_is_left_alone(self) -> None:
        text = "B\u00fccher \u65e5\u672c \U0001f469\u200d\U0001f680 [red]"
        self.assertEqual(printable(text), text)
