"""Growth: whether anything costs more the more was logged. Start-up and intake, empty and large."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import intake, servers
from bench.results import Column, Figures, Result
from bench.servers import Place
from bench.settings import Settings

NAME = "growth"
HELP = "start-up and intake on an empty and on a large journal"
COLUMNS = (
    Column("start_s", "start-up s", ".2f"),
    Column("cpu_us", "µs/payload"),
    Column("per_s", "payloads/s", ",.0f"),
    Column("p50_ms", "p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("disk", "disk B/event"),
    Column("rss_mb", "RSS MB", ",.0f"),
    Column("others", "others", ".0%"),
)


def measure(settings: Settings) -> Result:
    large = settings.journal(settings.journal_events)
    cases = {
        "empty": partial(_empty, settings),
        f"{settings.journal_events:,} events": partial(_one, settings, large),
    }
    return Result(NAME, COLUMNS, settings.measure(cases))


def _empty(settings: Settings) -> Figures:
    with TemporaryDirectory(dir=settings.work) as folder:
        return _one(settings, settings.place.copy(Path(folder) / "data"))


def _one(settings: Settings, place: Place) -> Figures:
    with servers.logui(place, *settings.options) as server:
        start = server.starting
    return {"start_s": start, **intake.stored(settings, place, settings.load())}
