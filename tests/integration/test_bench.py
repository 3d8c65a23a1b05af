"""bin/bench as one calls it. How fast anything is, is not a test's business; that it is told, is."""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

BENCH = Path(__file__).parents[2] / "bin" / "bench"
CASE = "LogUI 0.4, 50 connections, 10 events"


class BenchTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def bench(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        work = f"--work={self.folder / 'work'}"
        return subprocess.run(
            [str(BENCH), *arguments, "--quick", work], capture_output=True, text=True, timeout=240
        )

    def test_intake(self) -> None:
        """The figures are in the file and in the table, and compared with an earlier run's."""
        saved, earlier = self.folder / "figures.json", self.folder / "earlier.json"
        before = {"date": "", "machine": {}, "settings": {}, "results": {"intake": {CASE: {"cpu_us": 1e6}}}}
        earlier.write_text(json.dumps(before))
        done = self.bench("intake", "--seconds=0.3", f"--json={saved}", f"--compare={earlier}")
        self.assertEqual(done.returncode, 0, done.stderr)
        run = json.loads(saved.read_text())
        self.assertEqual(set(run), {"date", "machine", "settings", "results"})
        for name in ("cpu", "cores", "kernel", "python", "sqlite", "twisted", "autobahn"):
            self.assertTrue(run["machine"][name], name)
        figures = run["results"]["intake"][CASE]
        for name in ("cpu_us", "echo_us", "ratio", "per_s", "p50_ms", "p99_ms", "disk", "rss_mb"):
            self.assertGreater(figures[name], 0, name)
        self.assertRegex(done.stdout, f"(?m)^ *{CASE} +[0-9.]+ ")
        self.assertRegex(done.stdout, "(?m)^ *times +0.00 ")
        # Nothing is left behind.
        self.assertEqual(list((self.folder / "work").iterdir()), [])

    def test_a_file_of_another_kind(self) -> None:
        other = self.folder / "other.json"
        other.write_text('{"a": 1}')
        done = self.bench("intake", f"--compare={other}")
        self.assertEqual(done.returncode, 1)
        self.assertIn("was not written by bin/bench", done.stderr)

    def test_a_server_that_does_not_start(self) -> None:
        done = self.bench("intake", "--seconds=0.1", "--option=--max-events=none")
        self.assertEqual(done.returncode, 1)
        self.assertIn("intake: the server did not start", done.stderr)
        self.assertIn("max-events", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_clients_that_are_refused(self) -> None:
        done = self.bench("intake", "--seconds=0.1", "--option=--max-events=5")
        self.assertEqual(done.returncode, 1)
        self.assertIn("a message was refused", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
