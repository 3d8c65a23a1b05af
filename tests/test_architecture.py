"""The rules of docs/architecture.md, held by reading the imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
PACKAGE = "logui_tx"
AUTOBAHN = {f"logui_tx.web.{name}" for name in ("websocket", "frames", "client")}
REACTOR = {"logui_tx.cli.context", "logui_tx.tap", "logui_tx.replay.command"}
LONGEST = 400


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, name: str) -> Iterator[str]:
    """All that a module imports, anywhere in it, as dotted names; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            base = (
                ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            )
            start = ".".join(filter(None, [base, node.module]))
            yield from (f"{start}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """``journal`` for ``logui_tx.journal.writer``; nothing for the package itself."""
    return module.split(".")[1] if module.startswith(f"{PACKAGE}.") else ""


def documented_order() -> list[list[str]]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    chain = re.search(r"Imports point one way: `([^`]+)`", text)
    assert chain is not None
    return [[name.strip() for name in stage.split(",")] for stage in chain[1].split("\u2190")]


def within(imported: str, package: str) -> bool:
    return imported == package or imported.startswith(f"{package}.")


MODULES = modules()
IMPORTS = {name: sorted(set(imports(path, name))) for name, path in MODULES.items()}


class ImportTests(SynchronousTestCase):
    def importers(self, package: str) -> set[str]:
        return {name for name, all_ in IMPORTS.items() if any(within(one, package) for one in all_)}

    def test_every_room_has_its_place(self) -> None:
        placed = [name for stage in documented_order() for name in stage]
        self.assertEqual(len(placed), len(set(placed)))
        self.assertEqual(set(placed), {room(name) for name in MODULES} - {""})

    def test_imports_point_one_way(self) -> None:
        height = {name: at for at, stage in enumerate(documented_order()) for name in stage}
        wrong = []
        for name, all_ in IMPORTS.items():
            for imported in all_:
                here, there = room(name), room(imported)
                # The package itself holds only the version.
                known = within(imported, PACKAGE) and there in height
                if known and here != there and (not here or height[there] >= height[here]):
                    wrong.append(f"{name} imports {imported}")
        self.assertEqual(wrong, [])

    def test_only_what_is_there_is_imported(self) -> None:
        """Also guards this file: a name that it cannot place is one that it does not check."""
        for name, all_ in IMPORTS.items():
            for imported in all_:
                if within(imported, PACKAGE):
                    self.assertIn(room(imported), {"__version__", *(room(one) for one in MODULES)}, name)

    def test_no_circles_within_a_room(self) -> None:
        edges = {
            name: {
                found
                for one in all_
                if (found := one if one in MODULES else one.rpartition(".")[0]) in MODULES
                and room(found) == room(name) != ""
            }
            for name, all_ in IMPORTS.items()
        }
        # A replay and its sessions know each other's types only.
        edges["logui_tx.replay.session"].discard("logui_tx.replay.player")
        while True:
            leaves = {name for name, needs in edges.items() if not needs & edges.keys()}
            if not leaves:
                break
            edges = {name: needs for name, needs in edges.items() if name not in leaves}
        self.assertEqual(sorted(edges), [])

    def test_autobahn(self) -> None:
        self.assertEqual(self.importers("autobahn"), AUTOBAHN)

    def test_txredisapi(self) -> None:
        self.assertEqual(self.importers("txredisapi"), {"logui_tx.redis.link"})

    def test_treq(self) -> None:
        """What is asked over HTTP is asked in one way, with bounds."""
        self.assertEqual(self.importers("treq"), {"logui_tx.sinks.posting"})
        self.assertEqual(self.importers("twisted.web.client"), {"logui_tx.sinks.posting"})

    def test_django(self) -> None:
        self.assertEqual(self.importers("django"), {"logui_tx.registry.legacy"})

    def test_the_global_reactor(self) -> None:
        self.assertEqual(self.importers("twisted.internet.reactor"), REACTOR)

    def test_the_reactor_is_imported_late(self) -> None:
        """At the head of a module it would be chosen by the import."""
        for name in REACTOR:
            for node in ast.parse(MODULES[name].read_bytes()).body:
                if isinstance(node, ast.ImportFrom):
                    self.assertNotIn("reactor", [alias.name for alias in node.names], name)

    def test_one_loop_only(self) -> None:
        for package in ("asyncio", "txaio.aio", "autobahn.asyncio", "twisted.internet.asyncioreactor"):
            self.assertEqual(self.importers(package), set(), package)

    def test_dialects_are_pure(self) -> None:
        """No clock and no I/O: nothing that could have them is imported."""
        for name, all_ in IMPORTS.items():
            if room(name) == "dialects":
                for imported in all_:
                    for package in ("time", "twisted", "os", "io", "pathlib", "socket", "random", "uuid"):
                        self.assertFalse(within(imported, package), f"{name} imports {imported}")


class LayoutTests(SynchronousTestCase):
    def test_modules_are_short(self) -> None:
        folders = [ROOT / name for name in (PACKAGE, "bench", "twisted", "tests")]
        long = {
            str(path.relative_to(ROOT)): lines
            for folder in folders
            for path in folder.rglob("*.py")
            if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
        }
        self.assertEqual(long, {})

    def test_the_plugin_folder_is_shared(self) -> None:
        """With an __init__.py ours would hide Twisted's own plugins."""
        found = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "twisted").rglob("*.py"))
        self.assertEqual(found, ["twisted/plugins/logui_tap.py"])

    def test_the_plugin_imports_nothing_of_ours(self) -> None:
        """A plugin that cannot be imported just disappears from ``twistd --help``."""
        path = ROOT / "twisted" / "plugins" / "logui_tap.py"
        found = set(imports(path, "twisted.plugins.logui_tap"))
        self.assertEqual(found, {"twisted.application.service.ServiceMaker"})

    def test_every_folder_is_a_package(self) -> None:
        for path in MODULES.values():
            self.assertTrue((path.parent / "__init__.py").exists(), str(path.parent))


class ReadingTests(SynchronousTestCase):
    """What these tests stand on."""

    def test_imports_are_seen_wherever_they_are(self) -> None:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            path = Path(folder) / "x.py"
            path.write_text(
                "import a.b as c, d\nfrom e import f, g\nfrom . import h\nfrom ..i import j\n"
                "def k():\n    from l.m import n\nif 0:\n    import o\n"
            )
            self.assertEqual(
                set(imports(path, "p.q.x")), {"a.b", "d", "e.f", "e.g", "p.q.h", "p.i.j", "l.m.n", "o"}
            )

    def test_there_is_something_to_read(self) -> None:
        self.assertGreater(len(MODULES), 40)
        self.assertIn("logui_tx.model.Limits", IMPORTS["logui_tx.options"])
