"""The data folder: private, and for one server at a time."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from logui_tx import data_folder
from logui_tx.data_folder import LOCK, in_use, lock, make
from logui_tx.errors import DataFolderUnusable

HOLDER = """
import sys
from pathlib import Path
from logui_tx.data_folder import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


class MakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.enterContext(TemporaryDirectory()))

    def test_made_private(self) -> None:
        before = os.umask(0)
        try:
            folder = make(self.root / "a" / "b")
        finally:
            os.umask(before)
        self.assertEqual(folder, self.root / "a" / "b")
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)

    def test_an_existing_one_stays_as_it_is(self) -> None:
        self.root.chmod(0o750)
        (self.root / "file").write_text("x")
        self.assertEqual(make(self.root), self.root)
        self.assertEqual(self.root.stat().st_mode & 0o777, 0o750)
        self.assertEqual([path.name for path in self.root.iterdir()], ["file"])

    def test_what_cannot_be_a_folder(self) -> None:
        (self.root / "file").write_text("x")
        for path in [self.root / "file", self.root / "file" / "below", self.root / ("x" * 300)]:
            error = self.assertRaises(DataFolderUnusable, make, path)
            self.assertIn(f"{path} cannot be made: ", str(error))
            self.assertNotIn("\n", str(error))

    def test_not_writable(self) -> None:
        # Who runs the tests may be root, whom no mode keeps out.
        self.patch(data_folder.os, "access", lambda path, mode: mode != os.R_OK | os.W_OK | os.X_OK)
        error = self.assertRaises(DataFolderUnusable, make, self.root)
        self.assertEqual(str(error), f"the data folder {self.root} is not writable")


class LockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def test_one_at_a_time(self) -> None:
        held = lock(self.folder)
        self.assertEqual((self.folder / LOCK).read_text(), f"{os.getpid()}\n")
        error = self.assertRaises(DataFolderUnusable, lock, self.folder)
        for part in (str(self.folder), "in use by another server", f"(process {os.getpid()})"):
            self.assertIn(part, str(error))
        self.assertEqual(
            (self.folder / LOCK).read_text(), f"{os.getpid()}\n", "the refused one changed nothing"
        )
        held.close()
        lock(self.folder).close()

    def test_another_process(self) -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(holder.communicate)
        self.assertEqual(holder.stdout.readline(), "held\n")
        self.assertIn(
            f"(process {holder.pid})", str(self.assertRaises(DataFolderUnusable, lock, self.folder))
        )
        holder.kill()
        holder.wait()
        lock(self.folder).close()

    def test_what_a_dead_server_left_is_replaced(self) -> None:
        (self.folder / LOCK).write_text("999999999999\n")
        lock(self.folder).close()
        self.assertEqual((self.folder / LOCK).read_text(), f"{os.getpid()}\n")

    def test_an_owner_that_has_not_said_its_id(self) -> None:
        held = lock(self.folder)
        self.addCleanup(held.close)
        (self.folder / LOCK).write_text("")
        self.assertIn("(process unknown)", str(self.assertRaises(DataFolderUnusable, lock, self.folder)))

    def test_not_writable(self) -> None:
        (self.folder / LOCK).mkdir()
        error = self.assertRaises(DataFolderUnusable, lock, self.folder)
        self.assertIn(str(self.folder), str(error))
        self.assertRaises(DataFolderUnusable, lock, self.folder / "absent")

    def test_whether_it_is_in_use(self) -> None:
        self.assertFalse(in_use(self.folder / "none"))
        self.assertFalse(in_use(self.folder))
        with lock(self.folder):
            self.assertTrue(in_use(self.folder))
        self.assertFalse(in_use(self.folder))
        lock(self.folder).close()
