"""``logui session``: the visits that were logged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import json_option, moment, print_details, printable, yes_option

if TYPE_CHECKING:
    from logui_tx.model import Session

_id_argument = click.argument("session_id", metavar="ID")
_HEAD = f"{'Started':<20}  {'Duration':>10}  {'Events':>9}  {'End':<14}  {'ID':<36}"


@click.group()
def session() -> None:
    """Sessions: the visits that were logged."""


@session.command("list")
@click.option("--flight", "flight_key", metavar="NAME_OR_ID", help="Only the sessions of this one.")
@json_option
@pass_context
def list_(context: Context, flight_key: str | None, as_json: bool) -> None:
    """List the sessions of all flights, or of one, in the order in which they began."""
    with context.journal() as reader:
        flight_id = None if flight_key is None else context.flight_id(flight_key, reader)
        sessions = reader.sessions(flight_id)
        if as_json:
            _print_json_array(sessions)
        else:
            _print_lines(sessions, with_flight=flight_id is None)


@session.command()
@_id_argument
@json_option
@pass_context
def show(context: Context, session_id: str, as_json: bool) -> None:
    """Show one session."""
    with context.journal() as reader:
        found = reader.session(session_id)
        jumps = [] if as_json else reader.jumps(found)
    if as_json:
        click.echo(to_json(found))
        return
    print_details(
        [
            ("ID", found.id),
            ("Flight", found.flight_id),
            ("Application", found.application_id),
            ("Dialect", found.dialect),
            ("Started", moment(found.started_at)),
            ("Ended", "it is open" if found.ended_at is None else moment(found.ended_at)),
            ("End", found.end_reason or ""),
            ("Duration", _duration(found)),
            ("Events", f"{found.events} in {found.size} bytes"),
            ("User agent", found.user_agent or ""),
            ("Origin", found.origin or ""),
            ("Referrer", found.referrer or ""),
            ("Device", found.device or ""),
            ("Visitor", found.visitor_id or ""),
            ("Data", found.app_data.decode("utf-8", "backslashreplace")),
            ("Segments", _segments(found)),
            *[
                ("Goes on", f"at {seq} from {moment(at)} on; others may hold what is between")
                for at, seq in jumps
            ],
        ]
    )


@session.command()
@_id_argument
@yes_option
@json_option
@pass_context
def delete(context: Context, session_id: str, yes: bool, as_json: bool) -> None:
    """Delete an ended session and all its events, for good.

    What was exported or sent elsewhere before stays there, and so does what another server has of it.
    """
    from logui_tx.journal.erase import erase_session

    with context.journal() as reader:
        found = reader.session(session_id)
    if not yes:
        click.confirm(
            f"Delete the session {printable(found.id)} of {moment(found.started_at)}"
            f" and its {found.events} events for good?",
            abort=True,
            err=True,
        )
    erased = erase_session(context.data_dir, session_id)
    context.forget(session_id)
    click.echo(to_json(found) if as_json else f"The session {printable(found.id)} was deleted.")
    if not erased.wiped:
        click.echo(
            "logui: the journal is being read: copies of what was deleted stay in its log"
            " (journal.sqlite-wal) until the server has folded it in, at the latest when it stops",
            err=True,
        )


def to_json(session: Session) -> str:
    """A session on one line, in ASCII."""
    from logui_tx.export.text import ascii_json
    from logui_tx.records import session_json

    return ascii_json(session_json(session))


def _print_json_array(sessions: Iterable[Session]) -> None:
    """One session a line, printed as they are read: there may be millions."""
    before = "["
    for each in sessions:
        click.echo(before + "\n" + to_json(each), nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def _print_lines(sessions: Iterable[Session], with_flight: bool) -> None:
    """One session a line, printed as they are read; what is of unknown width is in ``session show``."""
    empty = True
    for each in sessions:
        if empty:
            click.echo(f"{_HEAD}  Flight" if with_flight else _HEAD.rstrip())
            empty = False
        line = (
            f"{moment(each.started_at):<20}  {_duration(each):>10}  {each.events:>9}"
            f"  {printable(each.end_reason or ''):<14}  {printable(each.id):<36}"
        )
        click.echo(f"{line}  {printable(each.flight_id)}" if with_flight else line.rstrip())
    if empty:
        click.echo("There are no sessions yet.")


def _duration(session: Session) -> str:
    """Hours, minutes and seconds."""
    if session.duration is None:
        return "open"
    minutes, seconds = divmod(round(session.duration), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _segments(session: Session) -> str:
    if session.first_segment is None:
        return "none"
    return f"{session.first_segment} to {session.last_segment}"
