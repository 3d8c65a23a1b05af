"""``logui flight``: the experiments and deployments of an application, and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from logui_tx.model import Flight

_flight_argument = click.argument("key", metavar="NAME_OR_ID")


@click.group()
def flight() -> None:
    """Flights: the experiments and deployments of an application."""


@flight.command()
@click.option("--application", "application_key", required=True, metavar="NAME_OR_ID", help="Whose flight.")
@click.option("--name", required=True, help="What it is called within its application.")
@click.option(
    "--domain",
    "domains",
    required=True,
    multiple=True,
    help="From where pages may log: host, host:port, *.host, or * for anywhere. May be given many times.",
)
@json_option
@pass_context
def create(
    context: Context, application_key: str, name: str, domains: tuple[str, ...], as_json: bool
) -> None:
    """Make a flight, and print the token that its clients need."""
    made = context.registry.create_flight(application_key, name, domains)
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
    names = {each.id: each.name for each in context.registry.list_applications()}
    print_table(
        ("Application", "Name", "Active", "Domains", "ID"),
        [
            (
                names.get(each.application_id, each.application_id),
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
    application = context.registry.find_application(found.application_id)
    print_details(
        [
            ("Name", found.name),
            ("ID", found.id),
            ("Application", f"{application.name} ({application.id})"),
            ("Domains", ", ".join(found.domains)),
            ("Active", _yes_no(found.active)),
            ("Client version", found.client_version),
            ("Made", moment(found.created_at)),
        ]
    )


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
    if as_json:
        print_json(_as_json(found))
    else:
        click.echo(f"The flight {quoted(found.name)} was deleted.")


def _set_active(context: Context, key: str, active: bool, as_json: bool) -> None:
    changed = context.registry.set_active(key, active)
    if as_json:
        print_json(_as_json(changed))
    else:
        click.echo(f"The flight {quoted(changed.name)} is {'active' if active else 'not active'} now.")


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _as_json(flight: Flight) -> dict[str, object]:
    return {
        "id": flight.id,
        "applicationID": flight.application_id,
        "name": flight.name,
        "domains": list(flight.domains),
        "active": flight.active,
        "clientVersion": flight.client_version,
    }
