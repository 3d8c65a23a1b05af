"""A real redis-server of a test's own, on a free port, without persistence unless it is asked for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve

from tests.integration.frozen import freeze, thaw

PATIENCE = 60.0
ANSWERS = 10.0
"""Seconds in which a Redis that is there answers, however busy the machine is."""


class RedisServer:
    """Started when made; ``uri`` names it. :meth:`stop` and :meth:`start` keep the port (and, with
    ``persistent``, the data); :meth:`close` ends it for good."""

    def __init__(self, *options: str, persistent: bool = False, scheme: str = "redis") -> None:
        self._folder = TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.port = free_port()
        self._options = [*options, *(["--appendonly", "yes"] if persistent else [])]
        self._scheme = scheme
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when it answers."""
        listen = ["--port", str(self.port)] if self._scheme == "redis" else ["--port", "0"]
        command = ["redis-server", *listen, "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self._process = subprocess.Popen(
            [*command, "--unixsocket", str(self.folder / "socket"), *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError("redis-server does not start")

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Ends the process, by default as a crash does."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It answers nobody, and keeps all connections, until :meth:`thaw`."""
        assert self._process is not None
        freeze(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        thaw(self._process.pid)

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()

    def cli(self, *words: str) -> str:
        """What redis-cli prints."""
        command = ["redis-cli", "-s", str(self.folder / "socket"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(PATIENCE)
                probe.connect(str(self.folder / "socket"))
                probe.sendall(b"PING\r\n")
                # A password is asked for, or it is there.
                return probe.recv(100)[:1] in (b"+", b"-")
        except OSError:
            return False


def wait_at_most(seconds: float, *stores: Any) -> None:
    """From here on these session stores wait that long for an answer: briefly only where none will come, or a
    busy machine would be taken for a Redis that is away."""
    for store in stores:
        for link in (store._link, store._ear):
            link._address = evolve(link._address, timeout=seconds)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
