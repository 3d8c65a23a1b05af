"""The servers that are measured, each in a process of its own on a processor of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from attrs import define, frozen

from bench import machine

BIN = Path(sys.executable).parent
DATA = "data"
START_TIMEOUT = 120
STOP_TIMEOUT = 120
# What would stop many clients of one address, and pings, which would be in some figures and not in others.
_OPTIONS = ("--max-connections-per-address=0", "--init-rate=0", "--ticket-ttl=5m", "--ping-interval=0")
_LISTENING = re.compile(r"listening on https?://[^:]+:(\d+)")


class DidNotWork(Exception):
    """A server or the generator failed; the text says how."""


@define
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    starting: float
    """Seconds from the process's start to its readiness."""

    def cpu(self) -> float:
        return machine.cpu_seconds(self.process.pid)

    def memory(self) -> int:
        return machine.memory_kb(self.process.pid)


@frozen
class Place:
    """A server's data folder with one flight, whose token this is."""

    data: Path
    flight: str
    token: str

    @property
    def journal(self) -> Path:
        return self.data / "journal.sqlite"

    def copy(self, to: Path) -> Place:
        """The same flight in another folder."""
        shutil.copytree(self.data, to)
        return Place(to, self.flight, self.token)


def make_place(folder: Path) -> Place:
    """A new data folder with a flight that any page may log to."""
    _logui(folder, "application", "create", "Bench")
    made = _logui(folder, "flight", "create", "--application", "Bench", "--name", "Bench", "--domain", "*")
    return Place(folder, made["id"], made["token"])


def _logui(data: Path, *arguments: str) -> Any:
    command = [str(BIN / "logui"), "--data-dir", str(data), *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@contextmanager
def logui(place: Place, *options: str, certificate: Path | None = None) -> Iterator[Server]:
    """The real thing, with a flight's data folder."""
    listen = f"--listen={_endpoint(certificate)}"
    command = [str(BIN / "twistd"), "-n", "--pidfile=", "logui", f"--data-dir={place.data}", listen]
    with _running([*command, *_OPTIONS, *options]) as server:
        yield server


@contextmanager
def echo(answer: str, *, deflate: bool = False, certificate: Path | None = None) -> Iterator[Server]:
    """The yardstick; see :mod:`bench.echo`."""
    command = [sys.executable, "-P", "-m", "bench.echo", _endpoint(certificate), answer]
    with _running([*command, *(["deflate"] if deflate else [])]) as server:
        yield server


def _endpoint(certificate: Path | None) -> str:
    if certificate is None:
        return "tcp:0:interface=127.0.0.1"
    return f"ssl:0:privateKey={certificate}:certKey={certificate}:interface=127.0.0.1"


@contextmanager
def _running(command: Sequence[str]) -> Iterator[Server]:
    with TemporaryFile() as log:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            preexec_fn=lambda: machine.stay_on(machine.SERVER_CPU),
        )
        try:
            port = _port(process, log)
            yield Server(process, port, time.monotonic() - begun)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process: subprocess.Popen[bytes], log: BinaryIO) -> int:
    """The port of which the server's log tells."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        ended = process.poll() is not None
        text = os.pread(log.fileno(), 1 << 20, 0).decode()
        if found := _LISTENING.search(text):
            return int(found[1])
        if ended or time.monotonic() > deadline:
            raise DidNotWork(f"the server did not start:\n{text}")
        time.sleep(0.002)


def certificate(folder: Path) -> Path:
    """A certificate for this machine with its key, in one file."""
    path = folder / "certificate.pem"
    if not path.exists():
        key = folder / "key.pem"
        made = folder / "made.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(made)),
            ],
            check=True,
            capture_output=True,
        )
        path.write_bytes(key.read_bytes() + made.read_bytes())
    return path


def tickets(server: Server, token: str, count: int, *, tls: bool) -> list[str]:
    """So many tickets for DataKraken's socket."""
    context = ssl._create_unverified_context() if tls else None
    http = HTTPSConnection("127.0.0.1", server.port, context=context) if tls else None
    connection = http or HTTPConnection("127.0.0.1", server.port)
    found = []
    for _ in range(count):
        connection.request("POST", "/kraken/init", json.dumps({"token": token}))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise DidNotWork(f"no ticket: {answer.status} {body.decode()}")
        found.append(json.loads(body)["ticket"])
    connection.close()
    return found
