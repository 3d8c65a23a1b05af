"""Delivery: how fast a filled journal goes to a sink, and what that costs the server."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import machine, servers
from bench.results import Column, Figures, Result
from bench.servers import DidNotWork, Place, Server
from bench.settings import Settings
from tests.integration.postgres import PostgreSQL

NAME = "delivery"
HELP = "a filled journal to JSONL, PostgreSQL and nowhere: events a second, CPU time"
COLUMNS = (
    Column("per_s", "events/s", ",.0f"),
    Column("cpu_us", "µs/event", ".2f"),
    Column("rss_mb", "RSS MB", ",.0f"),
)
EVENTS, _QUICK_EVENTS = 500_000, 40_000
_PATIENCE = 600.0
_POLL = 0.02
_SINK = "?start=beginning&name=bench"


def measure(settings: Settings) -> Result:
    events = _QUICK_EVENTS if settings.quick else EVENTS
    filled = settings.journal(events)
    cases = {
        "nowhere (blackhole)": partial(_one, settings, filled, events, _nowhere),
        "JSONL": partial(_one, settings, filled, events, _jsonl),
        "PostgreSQL": partial(_one, settings, filled, events, _postgresql),
    }
    return Result(NAME, COLUMNS, settings.measure(cases))


@contextmanager
def _nowhere(_folder: Path) -> Iterator[str]:
    yield "blackhole:"


@contextmanager
def _jsonl(folder: Path) -> Iterator[str]:
    yield f"jsonl:{folder / 'delivered'}"


@contextmanager
def _postgresql(_folder: Path) -> Iterator[str]:
    """One of its own, with Debian's buffers. It does not sync, which is not what is measured; and it has both
    processors, as nobody else needs the other."""
    postgresql = PostgreSQL(shared_buffers="128MB")
    try:
        with machine.anywhere():
            postgresql.start()
        yield postgresql.new_database()
    finally:
        postgresql.remove()


def _one(settings: Settings, filled: Place, events: int, sink: object) -> Figures:
    assert callable(sink)
    with TemporaryDirectory(dir=settings.work) as folder, sink(Path(folder)) as uri:
        place = filled.copy(Path(folder) / "data")
        with servers.logui(place, f"--sink={uri}{_SINK}", *settings.options) as server:
            return _watched(server, place, events)


def _watched(server: Server, place: Place, events: int) -> Figures:
    """From the first batch that is seen to the last."""
    deadline = time.monotonic() + _PATIENCE
    first: tuple[float, float, int] | None = None
    with closing(sqlite3.connect(f"file:{place.journal}?mode=ro", uri=True, timeout=30)) as journal:
        while time.monotonic() < deadline:
            found = journal.execute("SELECT delivered, trouble FROM sink").fetchone()
            delivered, trouble = found or (0, None)
            if trouble:
                raise DidNotWork(f"the sink has trouble: {trouble}")
            now = time.monotonic(), server.cpu(), delivered
            if delivered and first is None:
                first = now
            if first and delivered >= events:
                more = max(1, delivered - first[2])
                return {
                    "per_s": more / (now[0] - first[0]),
                    "cpu_us": (now[1] - first[1]) * 1e6 / more,
                    "rss_mb": server.memory() / 1024,
                }
            time.sleep(_POLL)
    raise DidNotWork(f"the sink did not get everything within {_PATIENCE:g} s")
