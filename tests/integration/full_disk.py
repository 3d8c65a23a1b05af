"""A small file system that really fills up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


class SmallDisk:
    """A tmpfs in a folder of its own, until :meth:`close`."""

    def __init__(self, size: str = "6m") -> None:
        self._folder = TemporaryDirectory()
        self.path = Path(self._folder.name)
        subprocess.run(
            [*AS_ROOT, "mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", self.path], check=True
        )

    def fill(self) -> Path:
        """Leave no byte free; the file to be removed for room."""
        ballast = self.path / "ballast"
        with ballast.open("ab", buffering=0) as file:
            for size in (65_536, 4096, 1):
                try:
                    while True:
                        file.write(os.urandom(size))
                except OSError:
                    pass
        return ballast

    def close(self) -> None:
        subprocess.run([*AS_ROOT, "umount", "--lazy", str(self.path)], check=True)
        self._folder.cleanup()
