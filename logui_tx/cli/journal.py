"""``logui journal``: the file in which everything is kept."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import click

from logui_tx import data_folder
from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import json_option, print_details, print_json, printable, yes_option
from logui_tx.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

    from logui_tx.journal.reader import JournalReader

# SQLite stops looking after so many faults.
_MOST_FAULTS = 100


@click.group()
def journal() -> None:
    """The journal: the file in which everything is kept."""


@journal.command()
@json_option
@pass_context
def info(context: Context, as_json: bool) -> None:
    """Show what the journal holds and what it takes on disk."""
    with context.journal() as reader:
        counts = reader.counts()
        found: dict[str, object] = {
            "id": reader.identity.current,
            "events": counts.events,
            "sessions": counts.sessions,
            "segments": counts.segments,
            "bytes": _size(context.data_dir),
        }
    if as_json:
        print_json(found)
    else:
        labels = ("ID", "Events", "Sessions", "Segments", "Bytes on disk")
        print_details(zip(labels, map(str, found.values()), strict=True))


@journal.command()
@json_option
@pass_context
def check(context: Context, as_json: bool) -> None:
    """Read the whole journal and tell what is damaged; the status is 1 where anything is."""
    damaged: list[tuple[int, str]] = []
    with context.journal() as reader:
        faults = _faults(reader)
        try:
            damaged.extend(reader.check())
        except sqlite3.DatabaseError as error:
            # What the integrity check has named already stops the reading, too.
            faults = faults or [str(error)]
    if as_json:
        segments = [{"segment": number, "error": why} for number, why in damaged]
        print_json({"sound": not damaged and not faults, "segments": segments, "database": faults})
    else:
        for number, why in damaged:
            click.echo(f"segment {number} is damaged: {printable(why)}")
        for fault in faults:
            click.echo(f"the database is damaged: {printable(fault)}")
        if not damaged and not faults:
            click.echo("The journal is sound.")
    if damaged or faults:
        raise SystemExit(1)


@journal.command()
@yes_option
@pass_context
def new_identity(context: Context, yes: bool) -> None:
    """Give the journal another id from here on, before the server starts with one from a backup.

    The ids of what it holds stay, and sinks go on where they were. What comes next is not taken for what the
    journal has forgotten.
    """
    from logui_tx.journal.identity import renew
    from logui_tx.journal.schema import open_journal

    with data_folder.lock(context.data_dir):
        connection = open_journal(context.data_dir)
        try:
            if not yes:
                click.confirm("Give the journal another id from here on?", abort=True, err=True)
            fresh = renew(connection)
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be written: {error}") from error
        finally:
            connection.close()
    click.echo(f"What comes next is of the journal {fresh}.")


def _faults(reader: JournalReader) -> list[str]:
    """What SQLite finds wrong with its file; empty where it is sound."""
    try:
        found = reader.integrity(_MOST_FAULTS)
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [fault for fault in found if fault != "ok"]


def _size(data_dir: Path) -> int:
    from logui_tx.journal.schema import FILE

    files = (data_dir / FILE, data_dir / f"{FILE}-wal")
    return sum(file.stat().st_size for file in files if file.exists())
