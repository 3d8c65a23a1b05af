"""``logui flight``: the experiments and deployments of an application, and their tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import (
    json_option,
    moment,
    print_details,
    print_json,
    print_table,
    quoted,
    yes_option,
)
from logui_tx.model import LISTENERS
from logui_tx.options import duration

if TYPE_CHECKING:
    from logui_tx.model import Flight

NO_LISTENER = "none"
"""The word for --listener that allows none."""

_DOMAIN_HELP = (
    "From where pages may log: host, host:port, *.host, or * for anywhere. May be given many times."
)

_flight_argument = click.argument("key", metavar="NAME_OR_ID")


def _listeners(
    _context: click.Context, _option: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...] | None:
    """None where nothing was given; the word for none stands alone."""
    if NO_LISTENER not in names:
        return names or None
    if set(names) != {NO_LISTENER}:
        raise click.BadParameter(f"{NO_LISTENER} goes with no other")
    return ()


def _milliseconds(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return round(duration(text) * 1000)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} does not do: {error}") from None


def _setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """What a flight may be set to when it is made and afterwards; None where it was not given."""
    options = (
        click.option(
            "--listener",
            "listeners",
            metavar="NAME",
            multiple=True,
            callback=_listeners,
            help=f"What DataKraken pages may listen to: {', '.join(LISTENERS)}; or {NO_LISTENER}. "
            "May be given many times.",
        ),
        click.option(
            "--sample-moves",
            metavar="TIME",
            callback=_milliseconds,
            help="Least time between two mouse moves of a DataKraken page, such as 50ms; 0 is every move.",
        ),
        click.option("--metadata", metavar="JSON", help="A JSON object for the flight's DataKraken pages."),
        click.option(
            "--strict-sessions/--no-strict-sessions",
            default=None,
            help="Refuse LogUI 0.5 pages that name an unknown or expired session; else they begin a new one.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def flight() -> None:
    """Flights: the experiments and deployments of an application."""


@flight.command()
@click.option("--application", "application_key", required=True, metavar="NAME_OR_ID", help="Whose flight.")
@click.option("--name", required=True, help="What it is called within its application.")
@click.option("--domain", "domains", required=True, multiple=True, help=_DOMAIN_HELP)
@_setting_options
@json_option
@pass_context
def create(
    context: Context,
    /,
    application_key: str,
    name: str,
    domains: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Make a flight, and print the token that its clients need.

    It allows all listeners and every mouse move unless said otherwise.
    """
    settings = {setting: value for setting, value in given.items() if value is not None}
    made = context.registry.create_flight(application_key, name, domains, **settings)
    token = context.registry.token(made)
    if as_json:
        print_json({**_as_json(made), "token": token})
        return
    click.echo(f"The flight {quoted(made.name)} was made; its id is {made.id}.")
    click.echo("Its token, which goes into the configuration of the page's client:\n")
    click.echo(f"{token}\n")
    click.echo(f"It is shown again by: logui flight token {made.id}")


@flight.command("list")
@click.option("--application", "application_key", metavar="NAME_OR_ID", help="Only the flights of this one.")
@json_option
@pass_context
def list_(context: Context, application_key: str | None, as_json: bool) -> None:
    """List the flights of all applications, or of one."""
    flights = context.registry.list_flights(application_key)
    if as_json:
        print_json([_as_json(each) for each in flights])
        return
    print_table(
        ("Application", "Name", "Active", "Domains", "ID"),
        [
            (
                each.application_name,
                each.name,
                _yes_no(each.active),
                ", ".join(each.domains),
                each.id,
            )
            for each in flights
        ],
        empty="There are no flights yet: logui flight create makes one.",
    )


@flight.command()
@_flight_argument
@json_option
@pass_context
def show(context: Context, key: str, as_json: bool) -> None:
    """Show one flight."""
    found = context.registry.find_flight(key)
    if as_json:
        print_json(_as_json(found))
        return
    print_details(
        [
            ("Name", found.name),
            ("ID", found.id),
            ("Application", f"{found.application_name} ({found.application_id})"),
            ("Domains", ", ".join(found.domains)),
            ("Active", _yes_no(found.active)),
            ("Client version", found.client_version),
            ("Listeners", ", ".join(found.listeners) or NO_LISTENER),
            ("Mouse moves", f"one in {found.sample_moves} ms" if found.sample_moves else "every one"),
            ("Metadata", found.metadata),
            ("Strict sessions", _yes_no(found.strict_sessions)),
            ("Made", moment(found.created_at)),
        ]
    )


@flight.command("set")
@_flight_argument
@click.option("--name", help="What it is called from now on.")
@click.option(
    "--domain", "domains", multiple=True, help=f"{_DOMAIN_HELP} Those that are given replace all it had."
)
@_setting_options
@click.option("--all-listeners", is_flag=True, help="Allow every listener.")
@json_option
@pass_context
def set_(
    context: Context, /, key: str, domains: tuple[str, ...], all_listeners: bool, as_json: bool, **given: Any
) -> None:
    """Change a flight; what is not given stays.

    Listeners that are given replace all it had. A running server takes notice within a second; pages that are
    open go on as they began.
    """
    if all_listeners:
        if given["listeners"] is not None:
            raise click.UsageError("--listener and --all-listeners exclude each other")
        given["listeners"] = LISTENERS
    changes = {
        name: value for name, value in {**given, "domains": domains or None}.items() if value is not None
    }
    if not changes:
        raise click.UsageError(
            "say what to change: --name, --domain, --listener, --all-listeners, --sample-moves, --metadata "
            "or --strict-sessions"
        )
    changed = context.registry.change_flight(key, **changes)
    context.announce(changed.id)
    if as_json:
        print_json(_as_json(changed))
    else:
        click.echo(f"The flight {quoted(changed.name)} was changed.")


@flight.command()
@_flight_argument
@json_option
@pass_context
def token(context: Context, key: str, as_json: bool) -> None:
    """Print the token of a flight, and nothing else."""
    found = context.registry.find_flight(key)
    text = context.registry.token(found)
    if as_json:
        print_json({"id": found.id, "token": text})
    else:
        click.echo(text)


@flight.command()
@_flight_argument
@json_option
@pass_context
def enable(context: Context, key: str, as_json: bool) -> None:
    """Let the clients of a flight log."""
    _set_active(context, key, True, as_json)


@flight.command()
@_flight_argument
@json_option
@pass_context
def disable(context: Context, key: str, as_json: bool) -> None:
    """Refuse the clients of a flight until it is enabled again."""
    _set_active(context, key, False, as_json)


@flight.command()
@_flight_argument
@yes_option
@json_option
@pass_context
def delete(context: Context, key: str, yes: bool, as_json: bool) -> None:
    """Delete a flight.

    Its clients are refused from then on. What was logged stays.
    """
    found = context.registry.find_flight(key)
    if not yes:
        click.confirm(f"Delete the flight {quoted(found.name)} ({found.id})?", abort=True, err=True)
    context.registry.delete_flight(found.id)
    context.announce(found.id)
    if as_json:
        print_json(_as_json(found))
    else:
        click.echo(f"The flight {quoted(found.name)} was deleted.")


def _set_active(context: Context, key: str, active: bool, as_json: bool) -> None:
    changed = context.registry.set_active(key, active)
    context.announce(changed.id)
    if as_json:
        print_json(_as_json(changed))
    else:
        click.echo(f"The flight {quoted(changed.name)} is {'active' if active else 'not active'} now.")


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _as_json(flight: Flight) -> dict[str, object]:
    import msgspec

    return {
        "id": flight.id,
        "applicationID": flight.application_id,
        "name": flight.name,
        "domains": list(flight.domains),
        "active": flight.active,
        "clientVersion": flight.client_version,
        "listeners": list(flight.listeners),
        "sampleMoves": flight.sample_moves,
        "metadata": msgspec.json.decode(flight.metadata),
        "strictSessions": flight.strict_sessions,
    }
