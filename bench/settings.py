"""What every benchmark is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from attrs import define

from bench.results import Figures, repeated
from bench.servers import Place, make_place


@define(slots=False)
class Settings:
    """``case`` chooses the cases whose names hold it; ``journal_events`` is the size of the large journal;
    ``options`` are given to the server; ``work`` is a folder for what is kept between the benchmarks."""

    work: Path
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

    def measure(self, cases: Mapping[str, Callable[[], Figures]]) -> dict[str, Figures]:
        """Those of the cases that are wanted, repeated."""
        wanted = {name: measure for name, measure in cases.items() if self.case in name}
        return repeated(wanted, self.repetitions, self.note)
