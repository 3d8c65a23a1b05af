"""Intake: what a payload costs the server, from its bytes on the socket to the acknowledgement.

Beside it the yardstick on the same traffic in the same run: the ratio of the two says more than either, since
machines differ and even one machine is not always equally fast.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import load, servers
from bench.load import ECHO_ANSWERS, Load
from bench.results import Column, Figures, Result
from bench.servers import DidNotWork, Place
from bench.settings import Settings

NAME = "intake"
HELP = "CPU time a payload, its rate and times, by connections, payload, dialect and transport"
COLUMNS = (
    Column("cpu_us", "µs/payload"),
    Column("echo_us", "echo µs"),
    Column("ratio", "ratio", ".2f"),
    Column("per_s", "payloads/s", ",.0f"),
    Column("p50_ms", "p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("disk", "disk B/event"),
    Column("rss_mb", "RSS MB", ",.0f"),
    Column("others", "others", ".0%"),
)
SIZES = (1, 10, 100, 1000)
DIALECTS = {"logui-0.4": "LogUI 0.4", "logui-0.5": "LogUI 0.5", "kraken": "DataKraken"}


def measure(settings: Settings) -> Result:
    loads = [settings.load(**more) for more in ([{}] if settings.quick else _loads())]
    cases = {name(load): partial(one, settings, load) for load in loads}
    return Result(NAME, COLUMNS, settings.measure(cases))


def _loads() -> list[dict[str, Any]]:
    """In what each differs from LogUI 0.4, 50 connections, 10 events, over plain TCP."""
    transports: list[dict[str, Any]] = [{}, {"deflate": True}, {"tls": True}]
    sizes = [{"events": events, **more} for more in transports for events in SIZES]
    crowds = [{"connections": 500, **more} for more in transports]
    dialects = [{"dialect": dialect, "events": events} for dialect in DIALECTS for events in SIZES]
    others = [{"dialect": dialect, **more} for dialect in DIALECTS for more in transports]
    return [*sizes, *crowds, *dialects, *others]


def name(load: Load) -> str:
    """A case's name, also in the JSON file."""
    parts = [DIALECTS[load.dialect], f"{load.connections} connections", f"{load.events} events"]
    return ", ".join(parts + ["deflate"] * load.deflate + ["TLS"] * load.tls)


def one(settings: Settings, what: Load) -> Figures:
    """Both servers, one after the other, each fresh."""
    certificate = servers.certificate(settings.work) if what.tls else None
    answer = ECHO_ANSWERS[what.dialect]
    with servers.echo(answer, deflate=what.deflate, certificate=certificate) as server:
        echo = load.run(server, what).figures
    with TemporaryDirectory(dir=settings.work) as folder:
        figures = stored(settings, settings.place.copy(Path(folder) / "data"), what)
    return {**figures, "echo_us": echo["cpu_us"], "ratio": figures["cpu_us"] / echo["cpu_us"]}


def stored(settings: Settings, place: Place, what: Load) -> Figures:
    """logui-tx alone, on this data folder; ``disk`` is what it grew by, once all sessions are closed."""
    certificate = servers.certificate(settings.work) if what.tls else None
    events, size = _events(place), _size(place)
    with servers.logui(place, *settings.options, certificate=certificate) as server:
        outcome = load.run(server, what, place.token)
    more = _events(place) - events
    if more < outcome.told["answered"] * what.events:
        raise DidNotWork(f"{outcome.told['answered']:.0f} payloads were answered, {more} events are stored")
    return {**outcome.figures, "disk": (_size(place) - size) / more}


def _events(place: Place) -> int:
    if not place.journal.exists():
        return 0
    with closing(sqlite3.connect(f"file:{place.journal}?mode=ro", uri=True)) as journal:
        (found,) = journal.execute("SELECT coalesce(sum(events), 0) FROM sessions").fetchone()
        return int(found)


def _size(place: Place) -> int:
    return sum(path.stat().st_size for path in place.data.glob("journal.sqlite*"))
