"""What the documents say is what there is: options, commands, limits, links, the unit."""

import ast
import configparser
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.cli.main import main
from logui_tx.model import Limits
from logui_tx.options import OPTIONS, Option, count, duration, read_file, settings, size
from logui_tx.replay.command import command as replay
from logui_tx.tap import Options

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "etc" / "logui.toml"
UNIT = ROOT / "etc" / "systemd" / "logui.service"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# How a table shows that there is no value by default.
NOTHING = {
    "database": "in the data folder",
    "secret-key-file": "in the data folder",
    "sink": "none",
    "legacy-secret-key-file": "none",
    "trusted-proxy": "none",
    "demo": "off",
}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def table(text: str, *head: str) -> list[list[str]]:
    """The rows of the table whose head begins with these cells."""
    _, found, rest = text.partition(f"| {' | '.join(head)} |")
    assert found, f"no table with {head}"
    lines = rest.splitlines()[2:]
    rows = lines[: next((at for at, line in enumerate(lines) if not line.startswith("|")), None)]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def metavar(option: Option) -> str:
    if option.name.endswith("secret-key-file"):
        return " FILE"
    if option.name in ("listen", "data-dir"):
        return {"listen": " ENDPOINT", "data-dir": " FOLDER"}[option.name]
    return "" if option.flag else f" {option.metavar}".replace("TEXT", "URI")


class OptionTests(SynchronousTestCase):
    def test_operations(self) -> None:
        rows = {cells[0]: cells for cells in table(read("docs/operations.md"), "option", "default")}
        expected = {f"`--{option.name}{metavar(option)}`": option for option in OPTIONS}
        self.assertEqual(set(rows), {*expected, "`--config FILE`"})
        for shown, option in expected.items():
            default = NOTHING[option.name] if option.default is None else f"`{option.default}`"
            self.assertEqual(rows[shown][1].strip("`"), default.strip("`"), shown)
            self.assertGreater(len(rows[shown][2]), 10, shown)

    def test_the_configuration_gives_exactly_the_defaults(self) -> None:
        self.assertEqual(settings({}, CONFIG), settings({}))

    def test_the_configuration_has_every_option_with_its_default(self) -> None:
        found, text = read_file(CONFIG), CONFIG.read_text(encoding="utf-8")
        for option in OPTIONS:
            if option.name == "database":
                self.assertRegex(text, r"(?m)^# database = \"sqlite:")
                continue
            if option.name.endswith("secret-key-file"):
                self.assertRegex(text, rf'(?m)^# {option.name} = "/')
                continue
            value = found.pop(option.name)
            if option.many:
                self.assertEqual(value, [option.default] if option.default else [])
            else:
                self.assertEqual(value if option.flag else str(value), option.default or False)
        self.assertEqual(found, {})

    def test_what_is_commented_out_works_too(self) -> None:
        """Each ``# key = value`` in place of the line with that key."""
        text = CONFIG.read_text(encoding="utf-8")
        examples = re.findall(r"(?m)^# ([a-z-]+ = .*)$", text)
        self.assertGreater(len(examples), 1)
        for example in examples:
            path = self.enterContext(_file(re.sub(rf"(?m)^{example.split()[0]} = .*$", "", text) + example))
            self.assertNotEqual(settings({}, path), settings({}), example)

    def test_help(self) -> None:
        """As it is printed: every option, what it is for, and its default."""
        command = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
        done = subprocess.run(
            [sys.executable, "-c", command, "logui", "--help"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        text = " ".join(done.stdout.split())
        for option in OPTIONS:
            self.assertIn(f"--{option.name}{' ' if option.flag else '= '}", text)
            self.assertIn(option.help, text)
            if option.default not in (None, "0"):
                self.assertIn(f"{option.help}{' May be given more than once.' * option.many}", text)
                self.assertIn(f"[default: {option.default}]", text)
        self.assertIn("--config=", text)


class LimitTests(SynchronousTestCase):
    def test_the_table_of_the_protocol(self) -> None:
        units = {"s": 1, "min": 60, "KiB": 1024, "MiB": 1024**2}
        options = {option.name: option for option in OPTIONS}
        named = set()
        for what, shown, names, past in table(read("docs/protocol.md"), "limit", "default", "option"):
            self.assertTrue(what and past)
            for name, default in zip(re.findall(r"`--([a-z-]+)`", names), shown.split(", "), strict=True):
                option = options[name]
                named.add(option.key)
                actual = getattr(Limits(), option.key)
                if default == "file descriptors":
                    self.assertEqual(actual, 0)
                    continue
                number, _, unit = default.replace(",", "").partition(" ")
                self.assertEqual(int(number) * units.get(unit, 1), actual, name)
                self.assertIs(option.read, {"s": duration, "min": duration, "": count}.get(unit, size), name)
        known = {option.key for option in OPTIONS if option.limit}
        # These bound the server itself and are no business of clients.
        self.assertEqual(known - named, {"drain_timeout", "max_in_flight"})

    def test_the_drain_time(self) -> None:
        self.assertIn(f"drain time ({Limits().drain_timeout:g} s)", read("docs/protocol.md"))


def subcommands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command that does something, as words."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from subcommands(command, *path, name)
            else:
                yield (*path, name)


def understand(command: click.Command, words: list[str]) -> click.Command:
    """What the words call, all of them taken as click takes them; raises where there is no such thing."""
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            _, rest, _ = command.make_parser(context).parse_args(list(words))
            _, inner, rest = command.resolve_command(context, rest)
            assert inner is not None
            return understand(inner, rest)
    command.make_context(command.name, list(words)).close()
    return command


class CommandTests(SynchronousTestCase):
    def test_operations_names_every_subcommand(self) -> None:
        rows = table(read("docs/operations.md"), "command")
        named = set()
        for cells in rows:
            first, *more = re.findall(r"`([^`]+)`", cells[0])
            words = first.removeprefix("logui ").split()
            named |= {tuple(words), *((*words[:-1], word) for word in more)}
        self.assertEqual(named, set(subcommands(main)))

    def readme_commands(self) -> list[list[str]]:
        """The lines of the README's consoles, with its own alias for logui put in."""
        lines = [
            line.removeprefix("$ ")
            for block in blocks(read("README.md"), "console")
            for line in block.replace("\\\n", " ").splitlines()
            if line.startswith("$ ")
        ]
        alias = next(shlex.split(line)[1] for line in lines if line.startswith("alias logui="))
        logui = alias.partition("=")[2].split()
        return [
            logui + words[1:] if words[0] == "logui" else words
            for line in lines
            for words in [shlex.split(part) for part in line.split("&&")]
        ]

    def test_the_readme_says_what_works(self) -> None:
        called = []
        for words in self.readme_commands():
            program = words[0]
            if program == ".venv/bin/logui":
                called.append(understand(main, words[1:]).name)
            elif program == "bin/replay":
                files = [str(path) for word in words[1:] for path in sorted(ROOT.glob(word))]
                options = [word for word in words[1:] if "*" not in word]
                understand(replay, [*files, *options])
                self.assertTrue(files)
            elif program.startswith("bin/"):
                self.assertTrue((ROOT / program).exists(), program)
            elif program == "install":
                self.assertTrue((ROOT / words[-2]).exists(), words)
        self.assertEqual(called, ["create", "create", "list", "export"])

    def test_mistakes_would_be_found(self) -> None:
        for words in [
            ["flight", "make"],
            ["nothing"],
            ["flight", "list", "--nothing"],
            ["export", "--format", "x"],
        ]:
            self.assertRaises(click.UsageError, understand, main, words)

    def test_the_scripts_that_are_named(self) -> None:
        for name in set(re.findall(r"`(bin/[a-z]+)", read("README.md"))):
            self.assertTrue((ROOT / name).stat().st_mode & 0o100, name)

    def test_the_python_of_the_readme(self) -> None:
        snippets = blocks(read("README.md"), "python")
        self.assertEqual(len(snippets), 1)
        for snippet in snippets:
            compile(ast.parse(snippet), "README.md", "exec")
            self.assertIn("pilot.jsonl", snippet)


def anchors(text: str) -> set[str]:
    heads = re.findall(r"(?m)^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


class LinkTests(SynchronousTestCase):
    def test_links_inside(self) -> None:
        links = 0
        for document in DOCUMENTS:
            text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if "://" in target:
                    continue
                name, _, anchor = target.partition("#")
                path = document.parent / name if name else document
                self.assertTrue(path.exists(), f"{document.name} links to {target}")
                if anchor:
                    self.assertIn(anchor, anchors(path.read_text(encoding="utf-8")), target)
                links += 1
        self.assertGreater(links, 5)

    def test_every_document_is_found_from_the_readme(self) -> None:
        for document in DOCUMENTS[1:]:
            self.assertIn(f"(docs/{document.name})", read("README.md"))


class UnitTests(SynchronousTestCase):
    def setUp(self) -> None:
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[assignment]
        unit.read_string(UNIT.read_text(encoding="utf-8"))
        self.unit = unit
        self.service = unit["Service"]

    def test_sections(self) -> None:
        self.assertEqual(self.unit.sections(), ["Unit", "Service", "Install"])
        self.assertEqual(self.unit["Install"]["WantedBy"], "multi-user.target")

    def test_a_user_and_a_folder_of_its_own(self) -> None:
        self.assertEqual((self.service["User"], self.service["Group"]), ("logui", "logui"))
        self.assertIn(
            "adduser --system --group --no-create-home --home /var/lib/logui logui", read("README.md")
        )
        self.assertEqual(
            (self.service["StateDirectory"], self.service["StateDirectoryMode"]), ("logui", "0700")
        )

    def test_it_starts_a_server(self) -> None:
        program, *words = shlex.split(self.service["ExecStart"])
        self.assertTrue(program.startswith("/") and program.endswith("/bin/twistd"), program)
        self.assertIn("/etc/logui/logui.toml", words)
        twistd = ServerOptions()
        twistd.parseOptions([word.replace("/etc/logui/logui.toml", str(CONFIG)) for word in words])
        self.assertEqual((twistd.subCommand, twistd["nodaemon"], twistd["pidfile"]), ("logui", True, ""))
        self.assertIsInstance(twistd.subOptions, Options)
        folder = Path("/var/lib") / self.service["StateDirectory"]
        self.assertEqual(twistd.subOptions.settings, settings({"data-dir": str(folder)}))

    def test_it_has_the_time_to_stop(self) -> None:
        self.assertEqual((self.service["KillSignal"], self.service["KillMode"]), ("SIGTERM", "mixed"))
        self.assertGreater(int(self.service["TimeoutStopSec"]), 2 * Limits().drain_timeout)

    def test_the_readme_installs_where_it_looks(self) -> None:
        readme = read("README.md")
        program = Path(shlex.split(self.service["ExecStart"])[0])
        for path in (
            str(program.parent / "pip"),
            "/etc/logui/logui.toml",
            "/etc/systemd/system/logui.service",
        ):
            self.assertIn(path, readme)


class _file:
    """A configuration file with this content, for a while."""

    def __init__(self, content: str) -> None:
        from tempfile import TemporaryDirectory

        self.folder, self.content = TemporaryDirectory(), content

    def __enter__(self) -> Path:
        path = Path(self.folder.name) / "logui.toml"
        path.write_text(self.content, encoding="utf-8")
        return path

    def __exit__(self, *_error: object) -> None:
        self.folder.cleanup()
