"""``bin/bench``: chooses the benchmarks, runs them, shows and saves what they found."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import click
from rich.console import Console

from bench import delivery, export, growth, intake, journal, latency, machine, memory, results
from bench.servers import DidNotWork
from bench.settings import Settings

BENCHMARKS: dict[str, ModuleType] = {
    module.NAME: module for module in (intake, latency, journal, export, growth, delivery, memory)
}
"""Each has NAME, HELP and ``measure(settings)``, which gives a Result."""

_SECONDS, _QUICK_SECONDS = 5.0, 1.0
_REPETITIONS, _QUICK_REPETITIONS = 3, 1
_EVENTS, _QUICK_EVENTS = 2_000_000, 50_000
_WIDTH = 160
"""Columns where the output is no terminal."""
_EPILOG = "\b\n" + "\n".join(f"{name:10} {module.HELP}" for name, module in BENCHMARKS.items())


@click.command(epilog=_EPILOG, context_settings={"max_content_width": 120})
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(list(BENCHMARKS)))
@click.option("--quick", is_flag=True, help="Few cases, once, briefly: to see that it works.")
@click.option("--case", default="", metavar="TEXT", help="Only the cases whose names hold this.")
@click.option("--reps", type=click.IntRange(1), help=f"Repetitions; medians count [{_REPETITIONS}].")
@click.option("--seconds", type=click.FloatRange(0.1, 300), help=f"Measured time of a load [{_SECONDS:g}].")
@click.option("--journal-events", type=click.IntRange(1000), help=f"Size of the large journal [{_EVENTS:,}].")
@click.option("--option", "options", multiple=True, metavar="OPTION", help="For the server.")
@click.option("--json", "save", type=click.Path(dir_okay=False, path_type=Path), help="Save the figures.")
@click.option(
    "--compare",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An earlier run's figures: each is shown as so many times what it was.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the journals; a large one in it is used again. By default a temporary one.",
)
def main(
    names: tuple[str, ...],
    quick: bool,
    case: str,
    reps: int | None,
    seconds: float | None,
    journal_events: int | None,
    options: tuple[str, ...],
    save: Path | None,
    compare: Path | None,
    work: Path | None,
) -> None:
    """Measure logui-tx: all benchmarks, or those that are named."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    try:
        earlier = results.load(compare) if compare else None
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    # An end that is asked for is an end as any: servers stop, folders go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.allow_many_files()
    machine.stay_on(machine.CLIENT_CPU)
    if work:
        work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="logui-bench-", dir=work) as folder, console.status("") as status:
        settings = Settings(
            Path(folder),
            work or Path(folder),
            quick,
            reps or (_QUICK_REPETITIONS if quick else _REPETITIONS),
            seconds or (_QUICK_SECONDS if quick else _SECONDS),
            journal_events or (_QUICK_EVENTS if quick else _EVENTS),
            case,
            options,
            status.update,
        )
        run = results.Run(
            {
                "quick": quick,
                "repetitions": settings.repetitions,
                "seconds": settings.seconds,
                "journal_events": settings.journal_events,
                "options": list(options),
            }
        )
        for name in names or BENCHMARKS:
            try:
                result = BENCHMARKS[name].measure(settings)
            except DidNotWork as error:
                raise click.ClickException(f"{name}: {error}") from None
            if result.cases:
                run.results[name] = result.cases
                results.show(console, result, earlier)
            if save:
                run.save(save)
