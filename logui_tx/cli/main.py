"""The command ``logui``: its options, its subcommands, and how it fails."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO, cast

import click

from logui_tx.cli.context import Context
from logui_tx.cli.output import printable
from logui_tx.errors import BadOption, LoguiError
from logui_tx.options import DATA_DIR, path, read_file

# Where each subcommand is found; a module is imported only when it is needed.
COMMANDS = {
    "application": "logui_tx.cli.application:application",
    "export": "logui_tx.cli.export:export",
    "flight": "logui_tx.cli.flight:flight",
    "import-logui": "logui_tx.cli.import_logui:import_logui",
    "journal": "logui_tx.cli.journal:journal",
    "key": "logui_tx.cli.key:key",
    "session": "logui_tx.cli.session:session",
    "sink": "logui_tx.cli.sink:sink",
}

_CONFIG_KEYS = ("data-dir", "database", "secret-key-file", "session-store")


class Fault(click.ClickException):
    """A LoguiError on its way to stderr: one line, exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"logui: {printable(self.message)}", file=file, err=file is None)


class Commands(click.Group):
    """Finds subcommands by :data:`COMMANDS`, and turns every LoguiError into a :class:`Fault`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        return cast(click.Command, getattr(import_module(module), attribute))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LoguiError as error:
            raise Fault(str(error)) from error


def load_config(file: Path) -> dict[str, str]:
    """The keys of a configuration file that these commands use: those of ``_CONFIG_KEYS``.

    Other keys are the server's business, but must be known to it. Raises :class:`BadOption` for a file that
    cannot be read as TOML, an unknown key, or one of these whose value is not a text.
    """
    content = read_file(file)
    config = {key: content[key] for key in _CONFIG_KEYS if key in content}
    for key, value in config.items():
        if not isinstance(value, str):
            raise BadOption(f"{key} in {file} must be a text in quotes")
    return config


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data-dir",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help=f"The server's data folder, made if absent.  [default: {DATA_DIR}]",
)
@click.option("--database", metavar="URI", help="The registry's database.  [default: in the data folder]")
@click.option(
    "--secret-key-file",
    metavar="FILE",
    help="The keys that sign tokens.  [default: in the data folder]",
)
@click.option(
    "--session-store",
    metavar="URI",
    help="What servers share of sessions; told of changed flights.  [default: memory:]",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The server's configuration (TOML); the options here win over it.",
)
@click.version_option(package_name="logui-tx", prog_name="logui")
@click.pass_context
def main(
    ctx: click.Context,
    data_dir: Path | None,
    database: str | None,
    secret_key_file: str | None,
    session_store: str | None,
    config: Path | None,
) -> None:
    """Manage a LogUI server: who may log, and what was logged.

    These options stand before the command: logui --data-dir FOLDER flight list
    """
    _forgive_encoding(sys.stdout)
    settings = load_config(config) if config else {}
    folder = data_dir or Path(settings.get("data-dir", DATA_DIR))
    keys = secret_key_file if secret_key_file is not None else settings.get("secret-key-file")
    ctx.obj = Context(
        folder,
        database if database is not None else settings.get("database"),
        None if keys is None else path("secret-key-file", keys),
        session_store if session_store is not None else settings.get("session-store", "memory:"),
    )
    ctx.call_on_close(ctx.obj.close)


def _forgive_encoding(stream: TextIO) -> None:
    """A name that the terminal's encoding lacks is shown escaped rather than failing the command."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
