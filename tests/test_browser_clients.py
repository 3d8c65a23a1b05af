"""The files that pages load: small, whole, and as their types and the documents say."""

import gzip
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.model import LISTENERS
from logui_tx.web.site import BROWSER, client_file
from tests.test_docs import read, table

LARGEST = 6_144
"""Bytes of all that a page loads for a client, each file compressed by itself."""


def source(name: str) -> str:
    return (BROWSER / name).read_text(encoding="utf-8")


def loaded(name: str) -> set[str]:
    """A script and all that it imports."""
    names = {name}
    for imported in re.findall(r'\bfrom "\./([^"]+)"', source(name)):
        names |= loaded(imported)
    return names


def options(script: str) -> set[str]:
    """The names in a client's table of defaults."""
    written = re.search(r"const OPTIONS = \{\n(.*?)\n\};", script, re.DOTALL)
    assert written is not None
    return set(re.findall(r"(?m)^  (\w+):", written[1]))


def methods(script: str, name: str) -> set[str]:
    """What a page may call or read of an exported class."""
    body = script.partition(f"export class {name}")[2].partition("\n}\n")[0]
    called = re.findall(r"(?m)^  (?:async |get |static )*(\w+)(?:\(.*\) \{| = |;)", body)
    return set(called) - {"constructor"}


def documented(heading: str, head: str) -> set[str]:
    text = read("docs/clients.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = table(text, *head.split())
    return {re.sub(r"\(.*", "", name) for row in rows for name in re.findall(r"`([^`]+)`", row[0])}


class FileTests(SynchronousTestCase):
    def test_they_are_small(self) -> None:
        """As they are served."""
        self.assertEqual(loaded("logui.js"), {"logui.js", "listeners.js"})
        for name in ("logui.js", "kraken.js"):
            sizes = {one: len(gzip.compress(client_file(one), 9)) for one in loaded(name)}
            self.assertLess(sum(sizes.values()), LARGEST, sizes)

    def test_what_is_left_out(self) -> None:
        served = client_file("logui.js").decode()
        self.assertNotIn("\n\n", served)
        lines = (line.strip() for line in source("logui.js").splitlines())
        self.assertEqual(served.splitlines(), [line for line in lines if line and not line.startswith("//")])
        self.assertEqual(client_file("logui.d.ts").decode(), source("logui.d.ts"))

    def test_nothing_is_harmed_by_that(self) -> None:
        """No string, template or comment spans lines."""
        for path in BROWSER.glob("*.js"):
            for line in source(path.name).splitlines():
                self.assertNotIn("/*", line, path.name)
                self.assertFalse(line.endswith("\\"), line)
                for mark in '`"' if not line.strip().startswith("//") else "":
                    self.assertEqual(line.count(mark) % 2, 0, line)

    def test_what_they_import_is_there(self) -> None:
        """From the same folder and nowhere else."""
        for path in BROWSER.glob("*.js"):
            for place in re.findall(r'\bfrom "([^"]+)"', source(path.name)):
                self.assertRegex(place, r"^\./\w+\.js$")
                self.assertTrue((BROWSER / place).exists(), place)

    def test_they_need_no_leave_of_a_policy(self) -> None:
        for path in BROWSER.glob("*.js"):
            for word in ("eval(", "new Function", "innerHTML", "document.write", ".style."):
                self.assertNotIn(word, source(path.name), path.name)

    def test_listeners_are_named_as_the_flights(self) -> None:
        """In the order of DataKraken's numbers; the page's own events are no listener."""
        written = re.search(r"LISTENERS = \[(.*?)\]", source("listeners.js"), re.DOTALL)
        assert written is not None
        self.assertEqual((*re.findall(r'"(\w+)"', written[1]), "custom"), LISTENERS)


class TypeTests(SynchronousTestCase):
    names = ("logui", "LogUI"), ("kraken", "DataKraken")

    def test_exports(self) -> None:
        for file, _ in self.names:
            exported = set(re.findall(r"(?m)^export (?:const|class|function) (\w+)", source(f"{file}.js")))
            typed = set(
                re.findall(r"(?m)^export (?:declare )?(?:const|class|function) (\w+)", source(f"{file}.d.ts"))
            )
            self.assertEqual(exported, typed)

    def test_options(self) -> None:
        for file, heading in self.names:
            typed = source(f"{file}.d.ts").partition("export interface Options {")[2].partition("\n}")[0]
            names = options(source(f"{file}.js"))
            self.assertGreater(len(names), 3)
            self.assertEqual(set(re.findall(r"(?m)^  (\w+)\??:", typed)), names)
            self.assertEqual(documented(heading, "option default"), names)

    def test_methods(self) -> None:
        for file, heading in self.names:
            script, text = source(f"{file}.js"), read("docs/clients.md")
            typed = source(f"{file}.d.ts").partition("export class")[2]
            found = methods(script, heading)
            self.assertGreater(len(found), 5, found)
            for name in found:
                self.assertRegex(typed, rf"\b{name}\b", name)
                self.assertRegex(text, rf"`[^`]*\b{name}\b[^`]*`", name)

    def test_events(self) -> None:
        for file, heading in self.names:
            told = set(re.findall(r'#tell\("(\w+)"', source(f"{file}.js")))
            typed = source(f"{file}.d.ts").partition("export interface Events {")[2].partition("\n}")[0]
            self.assertEqual(set(re.findall(r"(?m)^  (\w+):", typed)), told)
            text = read("docs/clients.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
            for name in told:
                self.assertIn(f"`{name}`", text)

    def test_states(self) -> None:
        shown = set(re.findall(r'#(?:show|off)\([^)]*?"(\w+)"', source("logui.js")))
        typed = source("logui.d.ts").partition("type State =")[2].partition(";")[0]
        self.assertLessEqual(shown, set(re.findall(r'"(\w+)"', typed)))


class SnippetTests(SynchronousTestCase):
    def test_they_are_short_and_name_what_is_there(self) -> None:
        for snippet in re.findall(r"```html\n(<script.*?)```", read("docs/clients.md"), re.DOTALL):
            self.assertLessEqual(len(snippet.strip().splitlines()), 5)
            imported = re.search(
                r'import \{ (\w+) \} from "https://logs.example.org/client/(\w+\.js)"', snippet
            )
            assert imported is not None
            self.assertIn(imported[1], source(imported[2]))

    def test_the_folder(self) -> None:
        for path in Path(BROWSER).glob("*.js"):
            self.assertIn(path.name, read("docs/clients.md"))
