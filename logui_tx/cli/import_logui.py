"""``logui import-logui``: what a released LogUI server has, brought here."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from logui_tx import data_folder
from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import json_option, print_json, printable
from logui_tx.cli.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from logui_tx.migration.migrate import LeftOut, Summary


@click.command("import-logui")
@click.option(
    "--database", required=True, metavar="URI", help="The LogUI server's PostgreSQL; it is only read."
)
@click.option(
    "--mongo-export",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Events as the LogUI server lets people download them, or mongoexport. May be given more than once.",
)
@json_option
@pass_context
def import_logui(context: Context, database: str, files: tuple[Path, ...], as_json: bool) -> None:
    """Bring applications, flights, sessions and events of a released LogUI server here.

    The server on this data folder must be stopped meanwhile. Each thing is imported once: run again, this
    adds what is missing and leaves alone what is there. The status is 1 where a file could not be read to its
    end.
    """
    from logui_tx.migration.migrate import migrate

    with data_folder.lock(context.data_dir), _progress(files) as advance:
        now = int(time.time() * 1000)
        summary = migrate(database, files, context.registry, context.data_dir, now, advance)
    if as_json:
        print_json(_as_json(summary))
    else:
        _print(summary)
    for fault in summary.faults:
        _tell(f"{fault.file}, byte {fault.place}: {fault.why}; what stands before was imported")
    if summary.faults:
        raise SystemExit(1)


def _progress(files: tuple[Path, ...]) -> AbstractContextManager[Callable[[int], None]]:
    if not files or not sys.stderr.isatty():
        return nullcontext(lambda size: None)  # noqa: ARG005
    return bar(sum(file.stat().st_size for file in files if file.is_file()), in_bytes=True)


def _print(summary: Summary) -> None:
    counts = summary.counts
    for what, imported, there in (
        ("applications", summary.applications, summary.applications_there),
        ("flights", summary.flights, summary.flights_there),
        ("sessions", counts.sessions, counts.sessions_there),
        ("events", counts.events, counts.events_there),
    ):
        click.echo(f"{what:<12}  {imported:>9} imported  {there:>9} there already")
    if counts.sessions_from_events:
        _tell(f"{counts.sessions_from_events} sessions are known from their events only")
    for note in summary.notes:
        _tell(note)
    for left_out in summary.left_out.values():
        _tell(
            f"{left_out.events} events were left out: {left_out.why}"
            f" (the first in {left_out.file}, byte {left_out.place})"
        )


def _tell(text: str) -> None:
    click.echo(f"logui: {printable(text)}", err=True)


def _as_json(summary: Summary) -> dict[str, object]:
    counts = summary.counts
    return {
        "applications": {"imported": summary.applications, "there": summary.applications_there},
        "flights": {"imported": summary.flights, "there": summary.flights_there},
        "sessions": {
            "imported": counts.sessions,
            "there": counts.sessions_there,
            "fromEvents": counts.sessions_from_events,
        },
        "events": {
            "imported": counts.events,
            "there": counts.events_there,
            "withoutSession": counts.events_without_session,
        },
        "leftOut": [{"events": each.events, **_place(each)} for each in summary.left_out.values()],
        "faults": [_place(each) for each in summary.faults],
        "notes": summary.notes,
    }


def _place(left_out: LeftOut) -> dict[str, object]:
    return {"why": left_out.why, "file": left_out.file, "byte": left_out.place}
