"""Recorded mouse sessions (the CSV of the Balabit Mouse Dynamics Challenge) as LogUI 0.4 events.

A row is ``record timestamp, client timestamp, button, state, x, y``: both times in seconds since the
session's start, state one of ``Move Drag Pressed Released Up Down``, coordinates in pixels. Of the rows

- ``Move`` and ``Drag`` become ``mousemove``, ``Up`` and ``Down`` become ``wheel``;
- ``Pressed`` and the next ``Released`` of the same button become one ``click`` at the release, the press
  within; alone they become ``mousedown`` and ``mouseup``.

So every row is in exactly one event, and the events stand in the order of their (last) rows.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from os import PathLike, fspath
from typing import Any, NoReturn

from attrs import define, frozen

HEADER = ["record timestamp", "client timestamp", "button", "state", "x", "y"]
STATES = frozenset({"Move", "Drag", "Pressed", "Released", "Up", "Down"})
MAX_TIME_MS = 8.64e15
"""The protocol's bound of a client time, either way (PROTOCOL, *Common rules*)."""

Event = dict[str, Any]

_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_INTEGER = re.compile(r"-?[0-9]{1,15}")


class MalformedRow(ValueError):
    """A row, or the header, is not of the form; the text begins with file and line (from 1)."""

    def __init__(self, name: str, line: int, text: str) -> None:
        super().__init__(f"{name}:{line}: {text}")
        self.name = name
        self.line = line


@frozen
class Row:
    """One row: times in seconds since the session's start, by the recorder's and by the client's clock."""

    recorded: float
    elapsed: float
    button: str
    state: str
    x: int
    y: int


def read_events(path: str | PathLike[str], started_at: int) -> Iterator[Event]:
    """The events of a file, read as they are asked for; ``started_at`` in UNIX ms.

    Raises OSError where the file cannot be read and :class:`MalformedRow` at the first bad row.
    """
    with open(path, "rb") as lines:
        yield from to_events(read_rows(lines, fspath(path)), started_at)


def read_rows(lines: Iterable[bytes], name: str) -> Iterator[Row]:
    """The rows after the header; ``name`` is the file's, for :class:`MalformedRow`."""
    line = 0

    def bad(text: str) -> NoReturn:
        raise MalformedRow(name, max(line, 1), text)

    def decoded() -> Iterator[str]:
        nonlocal line
        for raw in lines:
            line += 1
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                bad("not UTF-8")

    table = csv.reader(decoded(), strict=True)
    try:
        if next(table, None) != HEADER:
            bad(f"the header is not {','.join(HEADER)}")
        for cells in table:
            yield _row(cells, bad)
    except csv.Error as error:
        bad(str(error))


def _row(cells: list[str], bad: Callable[[str], NoReturn]) -> Row:
    if len(cells) != len(HEADER):
        bad(f"{len(cells)} columns instead of {len(HEADER)}")
    recorded, elapsed, button, state, x, y = cells
    for column, cell in zip(HEADER, cells, strict=True):
        if column.endswith("timestamp") and not (
            _DECIMAL.fullmatch(cell) and abs(float(cell)) * 1000 <= MAX_TIME_MS
        ):
            bad(f"the {column} {cell!r} is not a time in seconds")
        if column in ("x", "y") and not _INTEGER.fullmatch(cell):
            bad(f"the coordinate {column} {cell!r} is not an integer")
    if not button:
        bad("the button is empty")
    if state not in STATES:
        bad(f"the state {state!r} is unknown")
    return Row(float(recorded), float(elapsed), button, state, int(x), int(y))


@define
class _Place:
    """Where an event stands among the others; without one once its press became a click further on."""

    event: Event | None
    press: Row | None = None


def to_events(rows: Iterable[Row], started_at: int) -> Iterator[Event]:
    """Turn rows into events; see the module for which.

    A press may turn out to be alone long after its row, and its event stands before all that follow it;
    so events wait here, in memory, while a button is down.
    """
    waiting: deque[_Place] = deque()
    down: dict[str, _Place] = {}
    for row in rows:
        before = down.pop(row.button, None) if row.state in ("Pressed", "Released") else None
        if row.state == "Pressed":
            down[row.button] = place = _Place(_event(row, "mousedown", started_at), press=row)
        elif row.state == "Released" and before is not None and before.press is not None:
            place = _Place(_click(before.press, row, started_at))
            before.event = None
        else:
            place = _Place(_lone_event(row, started_at))
        if before is not None:
            before.press = None
        waiting.append(place)
        while waiting and waiting[0].press is None:
            if (event := waiting.popleft().event) is not None:
                yield event
    for place in waiting:
        if place.event is not None:
            yield place.event


def _lone_event(row: Row, started_at: int) -> Event:
    if row.state == "Released":
        return _event(row, "mouseup", started_at)
    kind = "wheel" if row.state in ("Up", "Down") else "mousemove"
    event = _event(row, kind, started_at)
    event["eventDetails"]["state"] = row.state
    return event


def _click(press: Row, release: Row, started_at: int) -> Event:
    event = _event(release, "click", started_at)
    event["eventDetails"]["press"] = _details(press)
    return event


def _event(row: Row, kind: str, started_at: int) -> Event:
    return {
        "clientDateTime": started_at + round(row.elapsed * 1000),
        "eventType": "interactionEvent",
        "eventDetails": {"type": kind, "button": row.button, **_details(row)},
    }


def _details(row: Row) -> Event:
    return {"x": row.x, "y": row.y, "elapsed": row.elapsed, "recorded": row.recorded}
