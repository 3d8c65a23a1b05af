"""What was measured: kept as JSON, shown as a table, compared with an earlier run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from attrs import asdict, define, field, frozen
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench import machine

Figures = dict[str, float]

WORST = frozenset({"max_ms", "stalls", "slow", "late_ms"})
"""Figures of which not the median counts."""


@frozen
class Column:
    """How a figure is shown: ``form`` is a format specification."""

    name: str
    heading: str
    form: str = ",.1f"


@frozen
class Result:
    """One benchmark's outcome: figures by case; see :func:`together`."""

    name: str
    columns: Sequence[Column]
    cases: dict[str, Figures]


@define
class Run:
    """One run of bin/bench."""

    settings: dict[str, Any]
    date: str = field(factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    machine: dict[str, str | int] = field(factory=machine.describe)
    results: dict[str, dict[str, Figures]] = field(factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def load(path: Path) -> Run:
    """An earlier run. Raises OSError, or ValueError where the file is of another kind."""
    try:
        return Run(**json.loads(path.read_text()))
    except (json.JSONDecodeError, TypeError, UnicodeDecodeError):
        raise ValueError(f"{path} was not written by bin/bench") from None


def repeated(
    cases: Mapping[str, Callable[[], Figures]], repetitions: int, note: Callable[[str], None]
) -> dict[str, Figures]:
    """Measure all cases, then all again, so that a slow spell of the machine does not hit one alone."""
    found: dict[str, list[Figures]] = {name: [] for name in cases}
    for time in range(repetitions):
        for name, measure in cases.items():
            note(f"{name} ({time + 1} of {repetitions})")
            found[name].append(measure())
    return {name: together(figures) for name, figures in found.items()}


def together(several: Sequence[Figures]) -> Figures:
    """Of each figure the median; of the longest wait and the stalls the worst, because one is too many."""
    return {
        name: (max if name in WORST else median)([figures[name] for figures in several])
        for name in several[0]
    }


def show(console: Console, result: Result, earlier: Run | None) -> None:
    """A table; below a case, how many times of what they were in an earlier run its figures are."""
    before = earlier.results.get(result.name, {}) if earlier else {}
    table = Table(title=result.name, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for column in result.columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for case, figures in result.cases.items():
        table.add_row(case, *(_cell(column, figures) for column in result.columns))
        if then := before.get(case):
            table.add_row(
                "  times", *(_times(column, figures, then) for column in result.columns), style="dim"
            )
    console.print(table)


def _cell(column: Column, figures: Figures) -> str:
    return format(figures[column.name], column.form) if column.name in figures else ""


def _times(column: Column, now: Figures, then: Figures) -> str:
    known = now.get(column.name) and then.get(column.name)
    return f"{now[column.name] / then[column.name]:.2f}" if known else ""
