"""``logui key``: the keys that sign the flights' tokens."""

from __future__ import annotations

import click

from logui_tx.cli.context import Context, pass_context
from logui_tx.cli.output import json_option, print_json


@click.group()
def key() -> None:
    """Keys: what the flights' tokens are signed with."""


@key.command()
@json_option
@pass_context
def rotate(context: Context, as_json: bool) -> None:
    """Sign new tokens with a new key.

    Tokens made before stay valid, and a running server takes notice by itself. To make old tokens invalid,
    delete the older lines of the file secret.key in the data folder.
    """
    context.keys.rotate()
    count = len(context.keys.keys())
    if as_json:
        print_json({"keys": count})
    else:
        click.echo(f"A new key signs from now on; tokens signed with any of the {count} keys are valid.")
