"""Latency: how long acknowledgements take while the server has time to breathe.

An open loop: payloads are due at a steady rate, and each one's time counts from when it was due, so that a
stall shows in all that had to wait. The rates are parts of the saturation rate, measured in the same run.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from bench import intake
from bench.load import Load
from bench.results import Column, Figures, Result
from bench.settings import Settings

NAME = "latency"
HELP = "times of acknowledgements at half and at a tenth of the saturation rate, 200 connections"
COLUMNS = (
    Column("per_s", "payloads/s", ",.0f"),
    Column("p50_ms", "p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("max_ms", "longest ms", ".1f"),
    Column("stalls", "stalls > 50 ms", ".0f"),
    Column("slow", "payloads in them", ".0f"),
    Column("late_ms", "generator late ms", ".1f"),
    Column("cpu_us", "µs/payload"),
    Column("disk", "disk B/event"),
    Column("others", "others", ".0%"),
)
CONNECTIONS = 200
_PARTS = {"half of it": 0.5, "a tenth of it": 0.1}


def measure(settings: Settings) -> Result:
    saturating = settings.load(connections=CONNECTIONS)
    saturated = settings.measure({"saturated": partial(_one, settings, saturating)}, whatever=True)
    rate = saturated["saturated"]["per_s"]
    cases = {
        name: partial(_one, settings, evolve(saturating, rate=rate * part)) for name, part in _PARTS.items()
    }
    return Result(NAME, COLUMNS, {**saturated, **settings.measure(cases)})


def _one(settings: Settings, load: Load) -> Figures:
    with TemporaryDirectory(dir=settings.work) as folder:
        return intake.stored(settings, settings.place.copy(Path(folder) / "data"), load)
