"""How commands print: JSON for programs, tables for people, nothing that could command a terminal."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

# Control and format characters (colours, cursor moves, right-to-left tricks), and what is no character.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Format characters that belong to ordinary text: they join letters and emoji.
_JOINERS = "\u200c\u200d"

# Wide enough that a table never wraps where no one looks at it.
_PIPE_WIDTH = 2_000

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def printable(text: str) -> str:
    """The text on one line, with everything escaped that is not simply seen."""
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNPRINTABLE and character not in _JOINERS
        else character
        for character in text
    )


def quoted(text: str) -> str:
    """A name within a sentence."""
    return f"“{printable(text)}”"


def print_json(value: object) -> None:
    """One JSON document in ASCII, so that it passes every terminal and pipe."""
    click.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """A table for people; ``empty`` is what is said where there are no rows. Cells may be hostile."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # An id is there to be copied: the other columns give way to it.
        table.add_column(column, overflow="fold", no_wrap=column == "ID")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if table.row_count:
        _print(table)
    else:
        click.echo(empty)


def print_details(details: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line. Values may be hostile."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in details:
        table.add_row(name, Text(printable(value)))
    _print(table)


def moment(milliseconds: int) -> str:
    """A time as people read it, in UTC."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _print(table: Table) -> None:
    from rich.console import Console

    # A terminal has its width; a pipe has none that should break lines.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(file=sys.stdout, width=width, markup=False, highlight=False).print(table)
