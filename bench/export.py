"""Export: everything as JSON Lines, and one session out of a large journal."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from contextlib import closing
from functools import partial

from bench import machine
from bench.results import Column, Figures, Result
from bench.servers import BIN, DidNotWork, Place
from bench.settings import Settings

NAME = "export"
HELP = "the whole journal as JSON Lines, from a small and a large one, and one session: rate, time, memory"
COLUMNS = (
    Column("events", "events", ",.0f"),
    Column("per_s", "events/s", ",.0f"),
    Column("seconds", "seconds", ".2f"),
    Column("cpu_us", "µs/event", ".2f"),
    Column("rss_mb", "peak RSS MB", ",.0f"),
)
_POLL = 0.01


def measure(settings: Settings) -> Result:
    small, large = settings.journal(settings.journal_events // 10), settings.journal(settings.journal_events)
    cases = {
        f"whole, of {settings.journal_events // 10:,}": partial(_export, small),
        f"whole, of {settings.journal_events:,}": partial(_export, large),
        f"one session of {settings.journal_events:,}": partial(
            _export, large, "--session", _some_session(large)
        ),
    }
    return Result(NAME, COLUMNS, settings.measure(cases))


def _some_session(place: Place) -> str:
    """One from the middle."""
    with closing(sqlite3.connect(f"file:{place.journal}?mode=ro", uri=True)) as journal:
        (session,) = journal.execute(
            "SELECT id FROM session WHERE number = (SELECT max(number) / 2 FROM session)"
        ).fetchone()
    return str(session)


def _export(place: Place, *options: str) -> Figures:
    """To nowhere, so that the disk's speed is not measured."""
    command = [
        str(BIN / "logui"),
        "--data-dir",
        str(place.data),
        "export",
        "--flight",
        place.flight,
        *options,
    ]
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: machine.stay_on(machine.SERVER_CPU),
    )
    peak, cpu = 0, 0.0
    try:
        # Its high-water mark, as long as it lives: the figure that wait() gives begins with its parent's.
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            peak = max(peak, machine.memory_kb(process.pid, "VmHWM"))
            cpu = machine.cpu_seconds(process.pid)
            time.sleep(_POLL)
        seconds = time.monotonic() - begun
    finally:
        process.kill()
        _, said = process.communicate()
    if process.returncode:
        raise DidNotWork(said.decode())
    events = int(said.split()[0])
    return {
        "events": events,
        "per_s": events / seconds,
        "seconds": seconds,
        "cpu_us": cpu * 1e6 / events,
        "rss_mb": peak / 1024,
    }
