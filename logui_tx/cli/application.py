"""``logui application``: the products and studies that are logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import json_option, moment, print_json, print_table, quoted, yes_option

if TYPE_CHECKING:
    from logui_tx.model import Application


@click.group()
def application() -> None:
    """Applications: the products and studies that are logged."""


@application.command()
@click.argument("name")
@json_option
@pass_context
def create(context: Context, name: str, as_json: bool) -> None:
    """Make an application called NAME."""
    made = context.registry.create_application(name)
    if as_json:
        print_json(_as_json(made))
    else:
        click.echo(f"The application {quoted(made.name)} was made; its id is {made.id}.")


@application.command("list")
@json_option
@pass_context
def list_(context: Context, as_json: bool) -> None:
    """List all applications."""
    applications = context.registry.list_applications()
    if as_json:
        print_json([_as_json(each) for each in applications])
        return
    print_table(
        ("Name", "Made", "ID"),
        [(each.name, moment(each.created_at), each.id) for each in applications],
        empty="There are no applications yet: logui application create NAME makes one.",
    )


@application.command()
@click.argument("key", metavar="NAME_OR_ID")
@yes_option
@json_option
@pass_context
def delete(context: Context, key: str, yes: bool, as_json: bool) -> None:
    """Delete an application and its flights.

    Their clients are refused from then on. What was logged stays.
    """
    found = context.registry.find_application(key)
    if not yes:
        count = len(context.registry.list_flights(found.id))
        flights = "no flights" if not count else "its flight" if count == 1 else f"its {count} flights"
        click.confirm(f"Delete the application {quoted(found.name)} and {flights}?", abort=True, err=True)
    context.registry.delete_application(found.id)
    if as_json:
        print_json(_as_json(found))
    else:
        click.echo(f"The application {quoted(found.name)} was deleted.")


def _as_json(application: Application) -> dict[str, object]:
    return {"id": application.id, "name": application.name}
