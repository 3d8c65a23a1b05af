"""What every benchmark is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import define

from bench import journals
from bench.load import Load
from bench.results import Figures, repeated
from bench.servers import Place, make_place

_WARM_UP, _QUICK_WARM_UP = 1.5, 0.3
"""Seconds before anything is measured."""


@define(slots=False)
class Settings:
    """``case`` chooses the cases whose names hold it; ``journal_events`` is the size of the large journal;
    ``options`` are given to the server; ``work`` is a folder for what is of use in this run only, and
    ``keep`` one for large journals."""

    work: Path
    keep: Path
    quick: bool
    repetitions: int
    seconds: float
    journal_events: int
    case: str
    options: tuple[str, ...]
    note: Callable[[str], None]

    @cached_property
    def place(self) -> Place:
        """A data folder to copy: a flight, and nothing logged yet."""
        return make_place(self.work / "new")

    def load(self, **more: Any) -> Load:
        """What clients do, for as long as was asked."""
        return Load(seconds=self.seconds, warm_up=_QUICK_WARM_UP if self.quick else _WARM_UP, **more)

    def journal(self, events: int) -> Place:
        """A journal of so many events, made when it is first asked for. What is logged to it stays there."""
        self.note(f"making a journal of {events:,} events")
        return journals.kept(self.place, self.keep / f"journal-{events}", events)

    def measure(
        self, cases: Mapping[str, Callable[[], Figures]], *, whatever: bool = False
    ) -> dict[str, Figures]:
        """Those of the cases that are wanted, or all, repeated."""
        wanted = {name: measure for name, measure in cases.items() if whatever or self.case in name}
        return repeated(wanted, self.repetitions, self.note)
