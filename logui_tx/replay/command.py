"""The command ``bin/replay``: recorded mouse sessions against a running server, with a closing account."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec
from attrs import asdict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from logui_tx.errors import LoguiError
from logui_tx.replay.mouse import MalformedRow, read_events
from logui_tx.replay.player import Account, Replay
from logui_tx.replay.session import Event

DEFAULT_URL = "ws://127.0.0.1:8081/logui/endpoint/0.4.0/"
INCOMPLETE = 1
"""The exit status when anything that was sent was not acknowledged."""


class Speed(click.ParamType[float | None]):
    """A factor of real time, or ``max`` (which becomes 0.0: click takes None for absent)."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value == "max":
            return 0.0
        try:
            speed = float(value)
        except ValueError:
            speed = math.nan
        if not (0 < speed < math.inf):
            self.fail(f"{value!r} is neither a number above 0 nor 'max'", param, ctx)
        return speed


def _checked_url(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
        )
    except ValueError:
        good = False
    if not good:
        raise click.BadParameter(f"{url!r} is not a ws:// or wss:// URL")
    return url


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--url", default=DEFAULT_URL, show_default=True, callback=_checked_url, help="The endpoint.")
@click.option("--token", help="The flight's token.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Take the token from this server's data.")
@click.option("--flight", default="Demo", show_default=True, help="With --data-dir: the flight's name or id.")
@click.option(
    "--speed", type=Speed(), default="max", show_default=True, help="A factor (1: real time) or max."
)
@click.option("--sessions", type=click.IntRange(1, 100_000), default=1, show_default=True, help="Copies.")
@click.option(
    "--batch", type=click.IntRange(1, 5_000), default=10, show_default=True, help="Events a payload."
)
@click.option(
    "--domain", default="localhost", show_default=True, help="The domain that the handshake declares."
)
@click.option("--json", "as_json", is_flag=True, help="The account as JSON, with every session.")
def command(
    files: tuple[Path, ...],
    url: str,
    token: str | None,
    data_dir: Path | None,
    flight: str,
    speed: float,
    sessions: int,
    batch: int,
    domain: str,
    as_json: bool,
) -> int:
    """Replay recorded mouse sessions (CSV) against a LogUI 0.4 server.

    Each FILE is one session; the exit status is 1 if anything sent was not acknowledged.
    """
    if (token is None) == (data_dir is None):
        raise click.UsageError("give either --token or --data-dir")
    started_at = int(time.time() * 1000)
    streams = [_read(path, started_at) for path in files] * sessions
    token = _token(data_dir, flight) if data_dir is not None else token
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("acknowledged", total=sum(map(len, streams)))

        def show(_sent: int, acknowledged: int) -> None:
            progress.update(task, completed=acknowledged)

        from twisted.internet import reactor

        replay = Replay(
            reactor,
            url,
            token or "",
            streams,
            speed=speed or None,
            batch=batch,
            domain=domain,
            on_progress=show,
        )
        account = _run(reactor, replay)
    _print(account, as_json)
    return 0 if account.complete else INCOMPLETE


def _read(path: Path, started_at: int) -> list[Event]:
    """All of a file, so that a malformed row shows before anything is sent, and its copies share it."""
    try:
        return list(read_events(path, started_at))
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    except MalformedRow as error:
        raise click.ClickException(str(error)) from None


def _token(data_dir: Path, flight: str) -> str:
    from logui_tx.registry.database import open_engine
    from logui_tx.registry.registry import Registry
    from logui_tx.registry.sqlite import FILE_NAME as DATABASE
    from logui_tx.registry.tokens import FILE_NAME as KEYS
    from logui_tx.registry.tokens import SigningKeys, TokenSigner

    # Opening them would make them, with keys that no server knows.
    if not all((data_dir / name).is_file() for name in (DATABASE, KEYS)):
        raise click.ClickException(f"{data_dir} is not the data folder of a server that has run")
    try:
        engine = open_engine(None, data_dir)
        try:
            registry = Registry(engine, TokenSigner(SigningKeys(data_dir)))
            return registry.token(registry.find_flight(flight))
        finally:
            engine.dispose()
    except LoguiError as error:
        raise click.ClickException(str(error)) from None


def _run(reactor: Any, replay: Replay) -> Account:
    """Runs the reactor until the account is there; an interrupt (Ctrl-C) ends the sessions where they are."""
    results: list[Account | Failure] = []

    def start() -> None:
        def ended(result: Account | Failure) -> None:
            results.append(result)
            if not interrupted:
                reactor.removeSystemEventTrigger(trigger)
                reactor.stop()

        def interrupt() -> None:
            interrupted.append(True)
            running.cancel()

        interrupted: list[bool] = []
        running: Deferred[Account] = replay.run()
        trigger = reactor.addSystemEventTrigger("before", "shutdown", interrupt)
        running.addBoth(ended)

    reactor.callWhenRunning(start)
    reactor.run()
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def _print(account: Account, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({**asdict(account), "complete": account.complete}))
        return
    for name in ("sent", "acknowledged", "refused", "resent", "reconnects"):
        click.echo(f"{name:<14}{getattr(account, name):>12}")
    for name, value in (("p50", account.p50_ms), ("p99", account.p99_ms)):
        click.echo(f"{name:<14}{'-' if value is None else f'{value:.1f}':>12} ms")
    click.echo(f"{'events/s':<14}{account.events_per_second:>12.0f}")
    errors: dict[str, int] = {}
    for session in account.sessions:
        if session.error is not None:
            errors[session.error] = errors.get(session.error, 0) + 1
    for text, count in errors.items():
        click.echo(
            f"bin/replay: {count} of {len(account.sessions)} sessions did not end well: {text}", err=True
        )


def main() -> None:
    """The process: every bad input is one line on stderr and a status that is not 0."""
    try:
        status = command(prog_name="bin/replay", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"bin/replay: {error.format_message()}", err=True)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
