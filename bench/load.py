"""One measured run: clients against a server, and what that cost it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import field, frozen

from bench import frames, machine, traffic
from bench.servers import DidNotWork, Server, tickets

GENERATOR = "BENCH_GENERATOR"
"""Names the environment variable in which bin/bench gives the generator's path."""

STALL = 0.05
"""Seconds from which the wait for an acknowledgement is a stall."""

_PATHS = {"logui-0.4": "/logui/endpoint/0.4.0/", "logui-0.5": "/ws/endpoint/", "kraken": "/kraken/socket"}
_WELCOME = {"logui-0.4": "HandshakeSuccess", "logui-0.5": "handshakeSuccess", "kraken": ""}
_EXPECT = {"logui-0.4": '"201"', "logui-0.5": "", "kraken": '"stored":'}
ECHO_ANSWERS = {
    "logui-0.4": '{"responseType":"LogUIEventPayloadSuccess","statusCode":"201"}',
    "logui-0.5": "",
    "kraken": '{"type":"ack","stored":10}',
}
"""What the yardstick answers: as the server does. LogUI 0.5 acknowledges nothing, so each of its payloads
goes with a ping, and the pong is the answer: it tells that the payload was taken, not that it is on disk."""


@frozen(kw_only=True)
class Load:
    """What the clients do. ``rate`` 0: each sends its next payload when the last is answered; else so many
    payloads a second of all together, however late the answers are. ``events`` 0: nothing is sent.
    ``seconds`` are measured, after ``warm_up``."""

    dialect: str = "logui-0.4"
    connections: int = 50
    events: int = 10
    deflate: bool = False
    tls: bool = False
    rate: float = 0.0
    seconds: float
    warm_up: float


@frozen
class Outcome:
    """What came of it, over the measured time. ``told`` are the generator's own figures."""

    told: dict[str, float]
    cpu: float
    others: float
    """CPU seconds that neither the server nor this process and its generator spent."""
    memory: int = field(repr=False)

    @property
    def figures(self) -> dict[str, float]:
        """CPU microseconds a payload, payloads a second, times in ms."""
        answered, seconds = self.told["answered"], self.told["seconds"]
        return {
            "cpu_us": self.cpu * 1e6 / max(answered, 1),
            "per_s": answered / seconds,
            **{name: self.told[name] for name in ("p50_ms", "p99_ms", "max_ms", "slow", "stalls", "late_ms")},
            "rss_mb": self.memory / 1024,
            "others": max(0.0, self.others / seconds),
        }


def run(server: Server, load: Load, token: str | None = None) -> Outcome:
    """Raises :class:`DidNotWork`. Without a token the server is the yardstick, which takes no handshake."""
    with TemporaryDirectory() as folder, _generator(_command(Path(folder), server, load, token)) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"begin\n":
            raise DidNotWork("the clients did not get in")
        before, busy = _spent(server, process), machine.busy_seconds()
        line = process.stdout.readline()
        after, end = _spent(server, process), machine.busy_seconds()
        memory = server.memory()
        if not line:
            raise DidNotWork("the clients stopped")
    told = json.loads(line)
    if told["closed"] or told["dropped"]:
        raise DidNotWork(f"{told['closed']} connections ended, {told['dropped']} payloads could not be sent")
    ours = sum(after) - sum(before)
    return Outcome(told, after[0] - before[0], end - busy - ours, memory)


def _spent(server: Server, process: subprocess.Popen[bytes]) -> tuple[float, float, float]:
    return server.cpu(), machine.cpu_seconds(process.pid), machine.cpu_seconds(os.getpid())


@contextmanager
def _generator(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs until its input ends; what it said about a failure is in the error."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    said: list[bytes] = []
    listener = threading.Thread(target=lambda: said.append(process.stderr.read()))  # type: ignore[union-attr]
    listener.start()
    try:
        yield process
    except DidNotWork as error:
        process.kill()
        listener.join()
        raise DidNotWork(f"{error}: {said[0].decode(errors='replace').strip()}") from None
    finally:
        process.stdin.close()
        process.wait()
        listener.join()
        process.stdout.close()  # type: ignore[union-attr]
        process.stderr.close()


def _command(folder: Path, server: Server, load: Load, token: str | None) -> list[str]:
    paths, messages = folder / "paths", folder / "messages"
    paths.write_text("\n".join(_paths(server, load, token)))
    command = [
        os.environ[GENERATOR],
        f"--port={server.port}",
        f"--paths={paths}",
        f"--connections={load.connections}",
        f"--seconds={load.seconds}",
        f"--warm-up={load.warm_up}",
        f"--stall={STALL}",
        *(["--tls"] if load.tls else []),
        *([f"--offer={frames.OFFER}"] if load.deflate else []),
    ]
    if token is not None:
        hello = folder / "hello"
        hello.write_bytes(frames.text(traffic.hello(load.dialect, token)))
        command += [f"--hello={hello}", f"--welcome={_WELCOME[load.dialect]}"]
    if not load.events:
        return [*command, "--idle"]
    quiet = load.dialect == "logui-0.5"
    payloads = traffic.payloads(load.dialect, load.events)
    made = [frames.text(payload, deflate=load.deflate) for payload in payloads]
    frames.write_all(messages, [message + frames.ping() for message in made] if quiet else made)
    counted = "pong" if quiet else "stored" if token and load.dialect == "kraken" else "text"
    command += [f"--messages={messages}", f"--answers={counted}", f"--events={load.events}"]
    return [*command, f"--expect={_EXPECT[load.dialect]}", f"--rate={load.rate}"]


def _paths(server: Server, load: Load, token: str | None) -> list[str]:
    path = _PATHS[load.dialect]
    if load.dialect != "kraken" or token is None:
        return [path]
    return [f"{path}?ticket={ticket}" for ticket in tickets(server, token, load.connections, tls=load.tls)]
