"""Servers without the second of imports: processes forked off one that has made them.

``twistd logui`` spends most of its start on imports, and the tests start it hundreds of times. So the
standard library's fork server imports what it needs once, and each server is a fork of that: a process of its
own, which runs what the program ``twistd`` runs, on the same arguments, and can be killed. The fork server
itself runs no reactor and no threads, and has nothing open.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

_context = multiprocessing.get_context("forkserver")
# "__main__" is what runs the tests, which every fork would import again.
_context.set_forkserver_preload(["__main__", "tests.integration.preloaded"])


def _run(arguments: Sequence[str], environment: dict[str, str], output: Connection) -> None:
    """In the fork: be ``twistd`` with these arguments."""
    os.dup2(output.fileno(), sys.__stdout__.fileno())
    os.dup2(output.fileno(), sys.__stderr__.fileno())
    output.close()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["twistd", *arguments]
    from twisted.scripts.twistd import run

    run()


class Fork:
    """A running ``twistd`` with these arguments; of ``subprocess.Popen`` what the tests use."""

    def __init__(self, *arguments: str) -> None:
        receiver, sender = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_run, args=(arguments, dict(os.environ), sender), daemon=True)
        self._process.start()
        sender.close()
        # The file has a descriptor of its own.
        self.stdout = open(os.dup(receiver.fileno()), encoding="utf-8")  # noqa: SIM115
        receiver.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("twistd", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)
