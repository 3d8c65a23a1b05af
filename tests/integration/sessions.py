"""The recorded mouse sessions as input, and the check that what was exported is what was recorded."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from logui_tx.replay.mouse import read_events
from tests.integration.process import BIN

FILES = sorted((Path(__file__).parents[1] / "data").glob("*.csv"))
START = 1_760_000_000_000


def recorded(copies: int = 1) -> list[list[dict[str, Any]]]:
    """The events of every file, ``copies`` times; each knows by its ``stream`` which one it is of."""
    return [
        [{**event, "stream": f"{path.stem}/{copy}"} for event in read_events(path, START)]
        for copy in range(copies)
        for path in FILES
    ]


def exported(data_dir: Path, flight: str) -> Iterator[dict[str, Any]]:
    """The records of ``logui export``, as they stream out of it."""
    command = [str(BIN / "logui"), "--data-dir", str(data_dir), "export", "--flight", flight]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def by_session(records: Iterator[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Records by session, in the order of the export."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        found.setdefault(record["sessionID"], []).append(record)
    return found
