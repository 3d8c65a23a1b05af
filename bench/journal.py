"""Journal: the writer by itself, from an entry in its queue to the entry settled after the sync."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import author, journals
from bench.results import Column, Figures, Result
from bench.settings import Settings

NAME = "journal"
HELP = "the writer alone: payloads a second, CPU time, bytes an event"
COLUMNS = (
    Column("cpu_us", "µs/payload"),
    Column("per_s", "payloads/s", ",.0f"),
    Column("disk", "disk B/event"),
)
_EVENTS = {1: 20_000, 50: 1_000_000, 500: 1_000_000}
"""By the payloads that wait at a time: how many are written."""


def measure(settings: Settings) -> Result:
    part = 20 if settings.quick else 1
    cases = {
        f"{window} payloads a commit": partial(_one, settings, window, events // part)
        for window, events in _EVENTS.items()
    }
    return Result(NAME, COLUMNS, settings.measure(cases))


def _one(settings: Settings, window: int, events: int) -> Figures:
    with TemporaryDirectory(dir=settings.work) as folder:
        place = settings.place.copy(Path(folder) / "data")
        told = journals.write(place, events, window)
        size = place.journal.stat().st_size
    payloads = told["payloads"]
    return {
        "cpu_us": told["cpu"] * 1e6 / payloads,
        "per_s": payloads / told["seconds"],
        "disk": size / (payloads * author.PAYLOAD),
    }
