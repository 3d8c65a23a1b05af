"""``twistd logui``: options read, composition made. The only module that touches the global reactor."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from twisted.logger import Logger
from twisted.python import usage

from logui_tx import __version__
from logui_tx.errors import CannotStart
from logui_tx.options import OPTIONS, Option, Settings, settings
from logui_tx.service import LoguiService

log = Logger()

_COLLECT_AFTER = 10_000
"""Objects more than were freed; walking through so many takes less than a millisecond."""


class Options(usage.Options):
    """The command line, made from the table of options; see :mod:`logui_tx.options`."""

    synopsis = "[options]"
    longdesc = (
        "Takes what people do on web pages over WebSocket and never loses what it has acknowledged. "
        "Every option may also stand in the file that --config names, by the same name; "
        "docs/operations.md explains them."
    )
    optParameters: list[list[Any]] = [
        ["config", "c", None, "TOML file with options by the same names; the command line wins."]
    ]
    optFlags: list[list[Any]] = []
    settings: Settings

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        usage.Options.__init__(self)

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"logui-tx {__version__}")  # noqa: T201
        sys.exit(0)

    def opt_help_sinks(self) -> None:
        """List the kinds of sinks that are installed, and exit."""
        from logui_tx.delivery.help import sinks_help

        print(sinks_help())  # noqa: T201
        sys.exit(0)

    def opt_help_sink(self, name: str) -> None:
        """Explain a kind of sink and its parameters, and exit."""
        from logui_tx.delivery.help import sink_help

        try:
            print(sink_help(name))  # noqa: T201
        except CannotStart as error:
            sys.exit(f"twistd logui: {error}")
        sys.exit(0)

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is not an option; see --help")

    def parseOptions(self, options: list[str] | None = None) -> None:
        """As usual, but an error is one line, and its status is not zero."""
        try:
            usage.Options.parseOptions(self, options)
            config = self["config"]
            self.settings = settings(self.given, Path(config) if config else None)
        except (usage.UsageError, CannotStart) as error:
            sys.exit(f"twistd logui: {error}")


def _setter(option: Option) -> Callable[..., None]:
    def set_flag(self: Options) -> None:
        self.given[option.name] = True

    def set_value(self: Options, value: str) -> None:
        if option.many:
            self.given.setdefault(option.name, []).append(value)
        else:
            self.given[option.name] = value

    setter: Callable[..., None] = set_flag if option.flag else set_value
    default = "" if option.default in (None, "0") else f" [default: {option.default}]"
    repeat = " May be given more than once." if option.many else ""
    setter.__doc__ = f"{option.help}{repeat}{default}"
    return setter


for _option in OPTIONS:
    # usage.Options looks for methods of the class.
    setattr(Options, f"opt_{_option.key}", _setter(_option))


def makeService(options: Options) -> LoguiService:
    """Called by twistd. Opens nothing yet: twistd may still fork and change its user."""
    from twisted.internet import reactor

    twistd: Any = options.parent
    _one_line_for(CannotStart, daemon=not twistd["nodaemon"])
    service = LoguiService(reactor, options.settings)

    def take_signals() -> None:
        def stop(_number: int, _frame: Any) -> None:
            reactor.callFromThread(service.stop_or_hurry, reactor.stop)  # type: ignore[attr-defined]

        # Twisted's own handlers would make the exit status tell of the signal, and a second one an error.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)

    # At once, for whoever stops it while it starts; and again, because running the reactor replaces them.
    take_signals()
    reactor.callWhenRunning(take_signals)
    reactor.callWhenRunning(_collect_rarely)
    return service


def _collect_rarely() -> None:
    """What a payload brings is freed by its count of references; the collector looks for cycles only.

    What exists at the start stays for good and is not looked at again; younger objects are, less often than
    by default: every collection walks through all that has been made since the last.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 10, 10)


def _one_line_for(kind: type[Exception], daemon: bool) -> None:
    """A reason not to start is for the operator to read, not a traceback to decipher."""
    before = sys.excepthook

    def hook(what: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(what, kind):
            if daemon:
                log.critical("{error}", error=error)
            else:
                # sys.stderr leads into the log by now.
                print(f"twistd logui: {error}", file=sys.__stderr__)
        else:
            before(what, error, trace)

    sys.excepthook = hook
