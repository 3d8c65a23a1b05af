"""Memory: what a connection holds that has shaken hands and is still, in resident memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from bench import load, machine, servers
from bench.load import ECHO_ANSWERS, Load
from bench.results import Column, Figures, Result
from bench.servers import Server
from bench.settings import Settings

NAME = "memory"
HELP = "resident memory of an idle connection, all of them held"
COLUMNS = (
    Column("connections", "connections", ",.0f"),
    Column("kb", "kB each"),
    Column("echo_kb", "echo kB"),
    Column("rss_mb", "RSS MB", ",.0f"),
    Column("opening", "opened in s"),
)
MANY, SOME, FEW = 10_000, 2_000, 500
"""Connections: how many are held, how many do to know another kind's size, how many show that it works."""
_SPARE_FILES = 500
# Long enough for the handshakes' commits to end.
_REST = 2.0


def measure(settings: Settings) -> Result:
    most = min(MANY, machine.allow_many_files() - _SPARE_FILES)
    many, some = (FEW, FEW) if settings.quick else (most, min(SOME, most))
    idle = Load(connections=some, events=0, warm_up=_REST, seconds=0.5)
    cases = {
        "LogUI 0.4": evolve(idle, connections=many),
        "LogUI 0.4, TLS": evolve(idle, tls=True),
        "LogUI 0.4, deflate": evolve(idle, deflate=True),
        "LogUI 0.5": evolve(idle, dialect="logui-0.5"),
        "DataKraken": evolve(idle, dialect="kraken"),
    }
    return Result(
        NAME, COLUMNS, settings.measure({name: partial(_one, settings, load) for name, load in cases.items()})
    )


def _one(settings: Settings, idle: Load) -> Figures:
    certificate = servers.certificate(settings.work) if idle.tls else None
    answer = ECHO_ANSWERS[idle.dialect]
    with servers.echo(answer, deflate=idle.deflate, certificate=certificate) as server:
        echo = _held(server, idle, None)
    with TemporaryDirectory(dir=settings.work) as folder:
        place = settings.place.copy(Path(folder) / "data")
        with servers.logui(place, *settings.options, certificate=certificate) as server:
            return {**_held(server, idle, place.token), "echo_kb": echo["kb"]}


def _held(server: Server, idle: Load, token: str | None) -> Figures:
    # What the first connection brings along belongs to the server.
    load.run(server, evolve(idle, connections=1, warm_up=0.1, seconds=0.1), token)
    before = server.memory()
    outcome = load.run(server, idle, token)
    return {
        "connections": idle.connections,
        "kb": (outcome.memory - before) / idle.connections,
        "rss_mb": outcome.memory / 1024,
        "opening": outcome.told["opening"],
    }
