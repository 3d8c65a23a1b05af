"""``logui export``: what was logged, as a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast

import click

from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import printable
from logui_tx.cli.progress import bar
from logui_tx.cli.times import read_time
from logui_tx.errors import LoguiError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from logui_tx.export.records import Selection, Tally

    Write = Callable[[Selection, BinaryIO, Tally], None]

_BUFFER = 1024 * 1024
_MAX_COLUMNS = 500
# What a shell shows of a command that these signals ended.
_INTERRUPTED = 130
_BROKEN_PIPE = 141


@click.command()
@click.option("--flight", "flight_key", required=True, metavar="NAME_OR_ID", help="Whose sessions.")
@click.option("--session", "session_id", metavar="ID", help="Only this one of them.")
@click.option(
    "--since", metavar="TIME", callback=read_time, help="Only what was received at this time or later."
)
@click.option("--until", metavar="TIME", callback=read_time, help="Only what was received before this time.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "logui"]),
    default="jsonl",
    show_default=True,
    help="JSON Lines, CSV, or the array that the released LogUI server exports.",
)
@click.option(
    "--output",
    default="-",
    show_default=True,
    metavar="FILE",
    help="Where to write; - is the standard output.",
)
@click.option(
    "--max-columns",
    type=click.IntRange(0),
    default=_MAX_COLUMNS,
    show_default=True,
    help="CSV: how many members of the events get a column of their own.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="How many processes share the work, of JSON Lines and logui.  [default: one a processor]",
)
@pass_context
def export(
    context: Context,
    flight_key: str,
    session_id: str | None,
    since: int | None,
    until: int | None,
    form: str,
    output: str,
    max_columns: int,
    jobs: int | None,
) -> None:
    """Write the events of a flight, also while the server runs.

    What is written is what was stored when the command began.
    """
    from logui_tx.export.records import Selection, Tally, rare_collections

    tally = Tally()
    with _quiet_end(), rare_collections(), context.journal() as reader:
        flight_id = context.flight_id(flight_key, reader)
        selection = Selection(reader, flight_id, reader.snapshot(), session_id, since, until)
        if session_id is not None:
            next(selection.sessions())  # before a file is made: is it there at all?
        write = _format(form, max_columns, _share(context, selection, form, jobs))
        passes = 2 if form == "csv" else 1
        with _output(output) as file, _progress(selection, passes, output) as advance:
            tally.advance = advance
            write(selection, file, tally)
    for note in tally.notes:
        click.echo(f"logui: {printable(note)}", err=True)
    click.echo(f"{tally.events} events of {tally.sessions} sessions", err=True)


def _format(form: str, max_columns: int, share: Callable[[Write], Write]) -> Write:
    from logui_tx.export import csv_file, jsonl, logui

    if form == "csv":
        return partial(csv_file.write, max_columns=max_columns)
    if form == "logui":
        return partial(logui.write_array, write_entries=share(logui.entries))
    return share(jsonl.write)


def _share(context: Context, selection: Selection, form: str, jobs: int | None) -> Callable[[Write], Write]:
    """What makes several processes do what a function does, where that is worth it."""
    jobs = jobs or len(os.sched_getaffinity(0))
    if jobs > 1 and form != "csv":
        from logui_tx.export import parallel

        if parallel.worthwhile(selection):
            return lambda write: partial(parallel.write, part=write, data_dir=context.data_dir, jobs=jobs)
    return lambda write: write


# --- where it goes


def _output(name: str) -> AbstractContextManager[BinaryIO]:
    if name == "-":
        return _standard_output()
    path = Path(name).resolve()
    if path.is_dir():
        raise LoguiError(f"{name} is a folder")
    # A device or a pipe is written as it is; only a file can take the place of another.
    return _new_file(path) if path.is_file() or not path.exists() else _device(path)


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    file: BinaryIO = sys.stdout.buffer
    with _clear_errors("the standard output"):
        yield cast(BinaryIO, _Terminal(file)) if sys.stdout.isatty() else file
        file.flush()


@contextmanager
def _device(path: Path) -> Iterator[BinaryIO]:
    with _clear_errors(str(path)), path.open("wb", buffering=_BUFFER) as file:
        yield file
        file.flush()


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that has its name only when it is whole and on disk; otherwise nothing is left of it."""
    part = path.with_name(f"{path.name}.part")
    with _clear_errors(str(path)):
        try:
            with part.open("wb", buffering=_BUFFER) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LoguiError(f"{name} cannot be written: {error.strerror}") from error


class _Terminal:
    """Writes to a terminal, which what was logged must not command: all but plain text is escaped."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: bytes) -> None:
        from logui_tx.export.text import shown

        lines = text.decode("utf-8", "backslashreplace").split("\n")
        self._file.write("\n".join(shown(line.removesuffix("\r")) for line in lines).encode())


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Ctrl-C and a reader that went away end the command without a word."""
    try:
        yield
    except KeyboardInterrupt:
        _exit(_INTERRUPTED)
    except BrokenPipeError:
        _exit(_BROKEN_PIPE)


def _exit(status: int) -> NoReturn:
    # What is still buffered would fail again, loudly, when Python flushes it at its end.
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    raise SystemExit(status)


# --- how far it is


def _progress(
    selection: Selection, passes: int, output: str
) -> AbstractContextManager[Callable[[int], None]]:
    """A bar where someone looks, and where it does not stand in the way of what is written."""
    if not sys.stderr.isatty() or (output == "-" and sys.stdout.isatty()):
        return nullcontext(lambda events: None)  # noqa: ARG005
    return bar(selection.events() * passes)
