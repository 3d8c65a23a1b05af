"""The server as users run it: ``twistd -n logui`` in a process of its own, on a free loopback port.

Most tests take a fork that has its imports behind it (:mod:`tests.integration.forks`); :data:`TWISTD` is the
program as it is installed, for the tests of what a user starts.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.forks import Fork

BIN = Path(sys.executable).parent
"""Where twistd and logui are installed, beside the Python that runs the tests."""

ARGUMENTS = ("-n", "--pidfile=", "logui")
TWISTD = (str(BIN / "twistd"), *ARGUMENTS)

START_TIMEOUT = 60
STOP_TIMEOUT = 60

_LISTENING = re.compile(r"listening on http://[^:]+:(\d+)/")


class ServerProcess:
    """A running server; its output is gathered in ``log`` (lines). A fork, unless a program is given."""

    def __init__(
        self, data_dir: Path, *options: str, port: int = 0, program: Sequence[str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.log: list[str] = []
        self.port = 0
        self._ready = threading.Event()
        options = f"--data-dir={data_dir}", f"--listen=tcp:{port}:interface=127.0.0.1", *options
        self.process = Fork(*ARGUMENTS, *options) if program is None else start(*program, *options)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_TIMEOUT) or not self.port:
            self.kill()
            raise AssertionError("the server did not start:\n" + "".join(self.log))

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/logui/endpoint/0.4.0/"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            match = _LISTENING.search(line)
            if match:
                self.port = int(match[1])
                self._ready.set()
        self._ready.set()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and wait; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(STOP_TIMEOUT)
        self._reader.join(STOP_TIMEOUT)
        return status

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT)
        self._reader.join(STOP_TIMEOUT)


def start(*command: str) -> subprocess.Popen[str]:
    """A program whose output is read line by line, also what it says of errors."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@contextmanager
def server(data_dir: Path, *options: str) -> Iterator[ServerProcess]:
    """A server that is killed at the end if it still runs."""
    running = ServerProcess(data_dir, *options)
    try:
        yield running
    finally:
        running.kill()


def logui(data_dir: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command ``logui`` on a data folder."""
    return subprocess.run(
        [str(BIN / "logui"), "--data-dir", str(data_dir), *arguments],
        capture_output=True,
        text=True,
        check=check,
    )


def logui_json(data_dir: Path, *arguments: str) -> Any:
    """The same with ``--json``, read."""
    return json.loads(logui(data_dir, *arguments, "--json").stdout)
