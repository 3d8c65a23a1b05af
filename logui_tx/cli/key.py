"""``logui key``: the keys that sign the flights' tokens."""

from __future__ import annotations

import click

from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import json_option, print_json, printable


@click.group()
def key() -> None:
    """Keys: what the flights' tokens are signed with."""


@key.command()
@json_option
@pass_context
def create(context: Context, as_json: bool) -> None:
    """Make the file of the keys, with one key in it.

    For the file that several servers share (logui --secret-key-file FILE key create); a server makes the one
    in its data folder by itself. A file that exists is left alone.
    """
    made = context.keys.create()
    count = len(context.keys.keys())
    if as_json:
        print_json({"created": made, "keys": count})
    elif made:
        click.echo(f"The file {printable(str(context.keys.path))} was made; copy it to each server.")
    else:
        click.echo(
            f"{printable(str(context.keys.path))} exists and was left alone; logui key rotate adds a key."
        )


@key.command()
@json_option
@pass_context
def rotate(context: Context, as_json: bool) -> None:
    """Sign new tokens with a new key.

    Tokens made before stay valid, and a running server takes notice by itself. To make old tokens invalid,
    delete the older lines of their file (secret.key in the data folder, unless --secret-key-file names it).
    """
    context.keys.rotate()
    count = len(context.keys.keys())
    if as_json:
        print_json({"keys": count})
    else:
        click.echo(f"A new key signs from now on; tokens signed with any of the {count} keys are valid.")
