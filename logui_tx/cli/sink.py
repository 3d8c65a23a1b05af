"""``logui sink``: how far the sinks are, and what operators do about them, also while the server runs."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import click

from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import json_option, moment, print_json, print_table, printable, quoted, yes_option
from logui_tx.cli.times import read_time
from logui_tx.data_folder import in_use
from logui_tx.errors import SinkInUse, UnknownSink

if TYPE_CHECKING:
    from logui_tx.journal.cursors import Cursor
    from logui_tx.model import Position

_name_argument = click.argument("name")
_SHOWN_LETTERS = 1_000


def _place(ctx: click.Context, param: click.Parameter, value: str) -> str | int | None:
    """``beginning``, ``end``, or a time in UNIX ms."""
    return value if value in ("beginning", "end") else read_time(ctx, param, value)


@click.group()
def sink() -> None:
    """Sinks: where stored events are delivered.

    They are named as ``status`` shows them; what is changed here a running server notices within a second.
    """


@sink.command()
@json_option
@pass_context
def status(context: Context, as_json: bool) -> None:
    """Show how far each sink is, and what keeps it."""
    from logui_tx.delivery.progress import LEFT_BEHIND
    from logui_tx.journal import cursors

    with context.journal() as reader:
        found = [
            (each, *cursors.behind(reader.connection, each.position))
            for each in cursors.cursors(reader.connection)
        ]
        configured = cursors.configured(reader.connection)
    unused = {each.name for each, *_ in found if configured is not None and each.name not in configured}
    now = time.time() * 1000
    if as_json:
        print_json(
            [
                {
                    "name": each.name,
                    "state": _state(each),
                    "configured": each.name not in unused,
                    "behind": behind,
                    "lag": 0.0 if first is None else max(0.0, (now - first) / 1000),
                    "delivered": each.delivered,
                    "deadLetters": each.dead_letters,
                    "segment": each.position.segment,
                    "event": each.position.event,
                    "trouble": each.trouble,
                    "troubleSince": each.trouble_since,
                }
                for each, behind, first in found
            ]
        )
        return
    print_table(
        ("Name", "State", "Behind", "Delivered", "Dead letters", "Trouble"),
        [
            (
                each.name,
                "not configured" if each.name in unused else _state(each),
                str(behind),
                str(each.delivered),
                str(each.dead_letters),
                "" if each.trouble is None else f"{each.trouble} (since {moment(each.trouble_since or 0)})",
            )
            for each, behind, _ in found
        ],
        "No sink was ever delivered to.",
    )
    for each, behind, _ in found:
        if each.name in unused and behind:
            click.echo(f"{quoted(each.name)} is not configured, and {behind} events behind: {LEFT_BEHIND}.")


@sink.command()
@_name_argument
@json_option
@pass_context
def letters(context: Context, name: str, as_json: bool) -> None:
    """Show what a sink refused for good, and why; at most the thousand oldest."""
    from logui_tx.journal import cursors

    with context.journal() as reader:
        _known(reader.connection, name)
        found = cursors.dead_letters(reader.connection, name, limit=_SHOWN_LETTERS)
        identity = reader.identity
    shown = [
        (
            None if each.event is None else f"{identity.at(each.segment)}-{each.segment}-{each.event}",
            each.session_id,
            each.at,
            each.reason,
        )
        for each in found
    ]
    if as_json:
        print_json(
            [dict(zip(("recordID", "sessionID", "at", "reason"), each, strict=True)) for each in shown]
        )
        return
    print_table(
        ("Record", "Session", "At", "Reason"),
        [
            (record or "(the session itself)", session, moment(at), reason)
            for record, session, at, reason in shown
        ],
        "There are none.",
    )


@sink.command()
@_name_argument
@pass_context
def pause(context: Context, name: str) -> None:
    """Deliver nothing to a sink until it is resumed; nothing is lost meanwhile."""
    _pause(context, name, True)
    click.echo(f"The sink {quoted(name)} is paused.")


@sink.command()
@_name_argument
@pass_context
def resume(context: Context, name: str) -> None:
    """Deliver to a sink again, from where it was."""
    _pause(context, name, False)
    click.echo(f"The sink {quoted(name)} is delivered to.")


@sink.command()
@_name_argument
@pass_context
def retry(context: Context, name: str) -> None:
    """Offer a sink its dead letters again."""
    from logui_tx.journal import cursors

    with context.journal_changes() as connection:
        _known(connection, name)
        number = cursors.retry(connection, name)
    click.echo(f"{number} dead letters of the sink {quoted(name)} are offered again.")


@sink.command()
@_name_argument
@click.option(
    "--to",
    "place",
    metavar="PLACE",
    callback=_place,
    required=True,
    help="beginning, end, or a time of receipt (ISO 8601, UTC).",
)
@yes_option
@pass_context
def rewind(context: Context, name: str, place: str | int, yes: bool) -> None:
    """Deliver to a sink from another place on.

    What it has already is offered again: sinks that know records by their id keep each once. Forward, what
    lies between is not delivered.
    """
    from logui_tx.journal import cursors

    with context.journal() as reader:
        _known(reader.connection, name)
        # Looked for beforehand: nothing can be stored while the cursor is written.
        position = _position(reader.connection, place)
        behind, _ = cursors.behind(reader.connection, position)
    if not yes:
        click.confirm(f"Deliver to the sink {quoted(name)} from another place on?", abort=True, err=True)
    with context.journal_changes() as connection:
        cursors.rewind(connection, name, position)
    click.echo(f"The sink {quoted(name)} goes on {behind} events before the end.")


@sink.command()
@_name_argument
@yes_option
@pass_context
def forget(context: Context, name: str, yes: bool) -> None:
    """Forget how far a sink is, and its dead letters: for one that is not used any more.

    A server that delivers to it would begin anew at the end: first take it out of the configuration.
    """
    from logui_tx.journal import cursors

    with context.journal() as reader:
        _known(reader.connection, name)
        configured = cursors.configured(reader.connection)
    if configured is not None and name in configured and in_use(context.data_dir):
        raise SinkInUse(
            f"the server delivers to {name!r}: take it out of the configuration and start the server again,"
            " or use logui sink pause or rewind"
        )
    if not yes:
        click.confirm(f"Forget the sink {quoted(name)} and its dead letters?", abort=True, err=True)
    with context.journal_changes() as connection:
        cursors.forget(connection, name)
    click.echo(f"The sink {quoted(name)} was forgotten.")


def _pause(context: Context, name: str, paused: bool) -> None:
    from logui_tx.journal import cursors

    with context.journal_changes() as connection:
        _known(connection, name)
        cursors.pause(connection, name, paused)


def _known(connection: sqlite3.Connection, name: str) -> None:
    from logui_tx.journal import cursors

    names = [each.name for each in cursors.cursors(connection)]
    if name not in names:
        known = f"known are {', '.join(map(printable, names))}" if names else "there is none yet"
        raise UnknownSink(f"there is no sink {name!r}; {known}")


def _position(connection: sqlite3.Connection, place: str | int) -> Position:
    from logui_tx.journal import cursors
    from logui_tx.model import Position

    if place == "beginning":
        return Position()
    return cursors.end(connection) if isinstance(place, str) else cursors.position_at(connection, place)


def _state(cursor: Cursor) -> str:
    return "paused" if cursor.paused else "failing" if cursor.trouble else "delivering"
