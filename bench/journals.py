"""Journals that are made for a benchmark, by :mod:`bench.author` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench import machine
from bench.servers import Place

WINDOW = 100
"""Payloads a commit of a made journal, about as under load."""


def write(place: Place, events: int, window: int = WINDOW) -> dict[str, float]:
    """Add events to a place's journal; ``payloads``, ``seconds`` and ``cpu`` (seconds)."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "bench.author",
        str(place.data),
        place.flight,
        str(events),
        str(window),
    ]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: machine.stay_on(machine.SERVER_CPU),
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def kept(new: Place, folder: Path, events: int) -> Place:
    """A place with so many events in this folder: that which is there, or a new one."""
    data, made = folder / "data", folder / "made.json"
    if made.exists():
        return Place(data, **json.loads(made.read_text()))
    place = new.copy(data)
    write(place, events)
    made.write_text(json.dumps({"flight": place.flight, "token": place.token}))
    return place
