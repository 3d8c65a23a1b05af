"""The folder that holds all that a server keeps: made private, and used by one server at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO

from logui_tx.errors import DataFolderUnusable

LOCK = "server.lock"


def make(folder: Path) -> Path:
    """The folder, made with mode 0700 if it was absent. Raises :class:`DataFolderUnusable`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataFolderUnusable(f"the data folder {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise DataFolderUnusable(f"the data folder {folder} is not writable")
    return folder


def lock(folder: Path) -> IO[str]:
    """Reserve the folder for this server, for as long as the file is open; the file holds its process id.

    Raises :class:`DataFolderUnusable` where another server uses it, and names that one's process id.
    """
    try:
        file = (folder / LOCK).open("a+", encoding="ascii")
    except OSError as error:
        raise DataFolderUnusable(f"the data folder {folder} is not writable: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read(20).strip()
        file.close()
        raise DataFolderUnusable(
            f"the data folder {folder} is in use by another server (process {owner or 'unknown'})"
        ) from None
    # The lock counts, not what is written: there may be no room for it.
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"{os.getpid()}\n".encode())
    return file


def in_use(folder: Path) -> bool:
    """Whether a server uses the folder now."""
    try:
        file = (folder / LOCK).open("rb")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
