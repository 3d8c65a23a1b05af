"""The wheel: what is in it, and that it works in an environment that has never seen the source."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from twisted.trial.unittest import SynchronousTestCase

from logui_tx import __version__

ROOT = Path(__file__).parent.parent
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
# Paths from outside would put the source back where it must not be.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP"))}


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def shipped() -> set[str]:
    """Everything under version control's eye that is part of the package."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "logui_tx").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "dropin.cache"
    }


class PackagingTests(SynchronousTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        """Build once, from a copy, without the network; install into an empty environment."""
        cls._folder = TemporaryDirectory()
        cls.addClassCleanup(cls._folder.cleanup)
        folder = Path(cls._folder.name)
        cls.elsewhere = folder / "elsewhere"
        cls.elsewhere.mkdir()
        source = folder / "source"
        source.mkdir()
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        ignore = shutil.ignore_patterns("__pycache__", "dropin.cache")
        for name in ("logui_tx", "twisted", "tests"):
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        build = ("wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
        run(*pip, *build, "--wheel-dir", folder, source, cwd=folder)
        (cls.wheel,) = folder.glob("*.whl")

        home = folder / "environment"
        venv.create(home, with_pip=False, symlinks=True)
        cls.python, cls.logui = home / "bin" / "python", home / "bin" / "logui"
        run(
            *pip,
            "--python",
            cls.python,
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            cls.wheel,
            cwd=folder,
        )
        # What it depends on comes from here; the .pth files in there (the editable install) are not read.
        (packages,) = home.glob("lib/python*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
        cls.packages = packages
        shutil.rmtree(source)

    def installed(self, code: str, *arguments: str) -> str:
        return run(self.python, "-c", code, *arguments, cwd=self.elsewhere)

    def editable(self, code: str, *arguments: str) -> str:
        return run(sys.executable, "-c", code, *arguments, cwd=self.elsewhere)

    def test_contents(self) -> None:
        with ZipFile(self.wheel) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
            metadata = [name.partition("/")[2] for name in archive.namelist() if ".dist-info/" in name]
        self.assertEqual(names, shipped() | {"twisted/plugins/logui_tap.py"})
        for part in ("registry/migrations/versions/", "registry/migrations/script.py.mako", "web/templates/"):
            self.assertTrue(any(name.startswith(f"logui_tx/{part}") for name in names), part)
        for name in ("logui_tx/py.typed", "logui_tx/testing/__init__.py", "logui_tx/web/static/demo.js"):
            self.assertIn(name, names)
        self.assertIn("entry_points.txt", metadata)
        self.assertTrue(any(name.endswith("LICENSE") for name in metadata), metadata)

    def test_metadata(self) -> None:
        code = "from importlib.metadata import distribution as d; m = d('logui-tx').metadata; "
        said = self.installed(
            code + "print(m['Version'], m['Requires-Python'], m['Description-Content-Type'])"
        )
        self.assertEqual(said.split(), [__version__, ">=3.11", "text/markdown"])

    def test_the_source_is_not_in_the_way(self) -> None:
        code = "import logui_tx, sys; print(logui_tx.__file__); print(*sys.path, sep='\\n')"
        file, *path = self.installed(code).splitlines()
        self.assertEqual(Path(file), self.packages / "logui_tx" / "__init__.py")
        self.assertNotIn(str(ROOT), path)

    def test_every_module_can_be_imported(self) -> None:
        modules = sorted(
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in shipped()
            if name.endswith(".py") and "migrations/env" not in name
        )
        code = "import sys, importlib as i; print(*[i.import_module(m).__file__ for m in sys.argv[1:]])"
        for file in self.installed(code, *modules).split():
            self.assertTrue(Path(file).is_relative_to(self.packages), file)

    def test_twistd_lists_logui(self) -> None:
        for said in (self.installed(TWISTD, "--help"), self.editable(TWISTD, "--help")):
            self.assertRegex(said, r"(?m)^ +logui +An interaction-logging server\.$")
            self.assertRegex(said, r"(?m)^ +web +", "Twisted's own plugins are still there")

    def test_twistd_logui_help(self) -> None:
        for said in (self.installed(TWISTD, "logui", "--help"), self.editable(TWISTD, "logui", "--help")):
            self.assertIn("Usage: twistd [options] logui [options]", said)
            self.assertIn("--max-unacknowledged=", said)

    def test_logui(self) -> None:
        for program in (self.logui, Path(sys.executable).with_name("logui")):
            self.assertEqual(run(program, "--version", cwd=self.elsewhere).split()[-1], __version__)
        self.assertIn("logui-tx " + __version__, self.installed(TWISTD, "logui", "--version"))

    def test_the_database_can_be_made(self) -> None:
        """Its migrations are files that are read, not imported."""
        folder = self.elsewhere / "data"
        said = run(
            self.logui, "--data-dir", folder, "application", "create", "Study", "--json", cwd=self.elsewhere
        )
        self.assertIn('"name"', said)
        self.assertTrue((folder / "registry.sqlite").exists())
