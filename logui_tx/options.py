"""Every option of the server, once: for the command line, the configuration file and the documentation.

A value on the command line wins over the file, the file over the default. An unknown name is an error that
names it, and what it may have meant.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, fields_dict, frozen

from logui_tx.errors import BadOption
from logui_tx.model import Limits

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DATA_DIR = "./logui-data"
LISTEN = "tcp:8081"

_SIZE = re.compile(r"(\d+)\s*([KMG]i?B|B)?", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNITS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def size(text: str) -> int:
    """Bytes: ``4194304``, ``4MiB``, ``4MB`` (the same)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a size is expected, such as 65536 or 64KiB")
    return int(match[1]) * _UNITS[(match[2] or "b")[0].lower()]


def duration(text: str) -> float:
    """Seconds: ``30``, ``1.5``, ``30s``, ``5m``, ``2h``, ``1d``, ``250ms``."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError("a time is expected, such as 30, 30s or 5m")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def count(text: str) -> int:
    """A whole number from 0."""
    if not re.fullmatch(r"\d{1,15}", text.strip()):
        raise ValueError("a whole number is expected")
    return int(text)


def text(value: str) -> str:
    """Anything but nothing."""
    if not value.strip():
        raise ValueError("it must not be empty")
    return value


def network(value: str) -> Network:
    """An address or a network: ``10.0.0.0/8``, ``::1``."""
    try:
        return ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValueError("a network is expected, such as 10.0.0.0/8 or ::1") from None


def level(value: str) -> int:
    """A zstd level from 1 to 19."""
    number = count(value)
    if not 1 <= number <= 19:
        raise ValueError("a level from 1 to 19 is expected")
    return number


@frozen
class Parameter:
    """Something to be set by name: ``default`` is in the form in which users write it, None for none.

    ``read`` makes the value of a text, or raises ValueError with what would be right; ``least`` is the
    smallest number that makes sense.
    """

    name: str
    read: Callable[[str], Any]
    default: str | None
    help: str
    many: bool = False
    least: float = 0

    def value(self, written: str) -> Any:
        """Raises ValueError."""
        found = self.read(written)
        if isinstance(found, int | float) and found < self.least:
            raise ValueError(f"at least {self.least:g} is expected")
        return found


@frozen
class Option(Parameter):
    """An option of the server. ``flag``: it is given without a value; ``limit``: it is a field of Limits."""

    flag: bool = False
    limit: bool = False

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")

    @property
    def metavar(self) -> str:
        return {size: "SIZE", duration: "TIME", count: "N", network: "CIDR", level: "N"}.get(
            self.read, "TEXT"
        )


OPTIONS = (
    Option("listen", text, LISTEN, "A Twisted endpoint to listen on.", many=True),
    Option("data-dir", text, DATA_DIR, "Folder of the journal, the registry and the keys."),
    Option("session-store", text, "memory:", "Where sessions rest that may be resumed."),
    Option("database", text, None, "URI of the registry's database; SQLite in the data folder by default."),
    Option(
        "registry-stale",
        duration,
        "1d",
        "How long flights are admitted as last seen while the database is away.",
    ),
    Option("secret-key-file", text, None, "File of the signing keys; in the data folder by default."),
    Option(
        "legacy-secret-key-file",
        text,
        None,
        "File of the SECRET_KEY of a released LogUI server, whose tokens are accepted.",
    ),
    Option("trusted-proxy", network, None, "Proxy whose forwarded addresses count.", many=True),
    Option("sink", text, None, "URI of a sink to which stored events are delivered.", many=True),
    Option("sink-alarm", duration, "1m", "How far behind a sink may be before health is degraded."),
    Option("metrics-from", network, "127.0.0.1", "Who may read /metrics.", many=True),
    Option("demo", text, None, "Make the flight Demo for localhost and serve /demo/.", flag=True),
    Option("handshake-timeout", duration, "10s", "Time for a client's handshake.", limit=True, least=0.001),
    Option("resume-window", duration, "30m", "How long a session may rest and be resumed.", limit=True),
    Option(
        "drain-timeout", duration, "5s", "How long clients may send on while the server stops.", limit=True
    ),
    Option("ping-interval", duration, "30s", "Time between pings; 0 sends none.", limit=True),
    Option("ping-timeout", duration, "15s", "Time for a client's answer to a ping.", limit=True, least=0.001),
    Option("max-message-size", size, "4MiB", "Largest message.", limit=True, least=1),
    Option("max-events", count, "5000", "Most events in one payload.", limit=True, least=1),
    Option(
        "max-app-data", size, "64KiB", "Most application-specific data of a session.", limit=True, least=2
    ),
    Option(
        "max-unacknowledged",
        size,
        "1MiB",
        "Unacknowledged bytes after which a connection is not read further.",
        limit=True,
        least=1,
    ),
    Option(
        "max-in-flight",
        size,
        "64MiB",
        "Bytes of all connections together that may wait for the journal.",
        limit=True,
        least=1,
    ),
    Option(
        "max-instances",
        count,
        "1000",
        "Most client instances (page loads) of a session.",
        limit=True,
        least=1,
    ),
    Option(
        "max-connections",
        count,
        "0",
        "Most connections in all; 0 allows as many as there are file descriptors.",
        limit=True,
    ),
    Option(
        "max-connections-per-address",
        count,
        "1000",
        "Most connections from one address; 0 is any number.",
        limit=True,
    ),
    Option(
        "ticket-ttl", duration, "15s", "How long a ticket of /kraken/init is good.", limit=True, least=0.001
    ),
    Option(
        "init-rate",
        count,
        "600",
        "Most calls of /kraken/init a minute from one address; 0 is any number.",
        limit=True,
    ),
    Option("max-init-size", size, "16KiB", "Largest body of a request.", limit=True, least=1),
    Option("commit-delay", duration, "0", "Time to gather payloads before each commit: slower, cheaper."),
    Option("compression", level, "1", "zstd level of the journal's segments."),
)
_URIS = ("database", "session-store", "sink")
_BY_NAME = {option.name: option for option in OPTIONS}


@frozen
class Settings:
    """What the options say, read and checked. Times in seconds, sizes in bytes."""

    data_dir: Path
    listen: tuple[str, ...] = (LISTEN,)
    session_store: str = "memory:"
    database: str | None = None
    registry_stale: float = 86_400.0
    secret_key_file: Path | None = None
    legacy_secret_key_file: Path | None = None
    trusted_proxy: tuple[Network, ...] = ()
    sink: tuple[str, ...] = ()
    sink_alarm: float = 60.0
    metrics_from: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.1"),)
    demo: bool = False
    commit_delay: float = 0.0
    compression: int = 1
    limits: Limits = field(factory=Limits)


def read_file(path: Path) -> dict[str, Any]:
    """The options of a configuration file, by name, still as the file has them. Raises :class:`BadOption`."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadOption(f"the configuration {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadOption(f"the configuration {path} is not valid TOML: {error}") from None
    for name in found:
        if name not in _BY_NAME:
            close = difflib.get_close_matches(name, _BY_NAME, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise BadOption(f"unknown key {name!r} in {path}{hint}")
    return found


def settings(given: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Options as they were given, by name, over those of the file, over the defaults.

    Values are text, or lists of it, or what TOML makes of numbers, booleans and arrays. Raises
    :class:`BadOption`, which names the option and says what would be right.
    """
    written = {**(read_file(config) if config is not None else {}), **given}
    values: dict[str, Any] = {}
    for option in OPTIONS:
        value = written.get(option.name, option.default)
        values[option.key] = _read(option, value)
    limit_names = fields_dict(Limits)
    limits = Limits(**{key: values.pop(key) for key in limit_names})
    if not values["listen"]:
        raise BadOption("listen: at least one endpoint is expected")
    values["data_dir"] = path("data-dir", values["data_dir"])
    for name in ("secret-key-file", "legacy-secret-key-file"):
        key = name.replace("-", "_")
        if values[key] is not None:
            values[key] = path(name, values[key])
    return Settings(limits=limits, **values)


def path(name: str, value: str) -> Path:
    """The absolute path that an option's value means. Raises :class:`BadOption`."""
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise BadOption(f"{name}: {value!r} does not do: there is no such user") from None


def _read(option: Option, value: Any) -> Any:
    if option.flag:
        if not isinstance(value, bool | None):
            raise BadOption(f"{option.name}: true or false is expected")
        return bool(value)
    if option.many:
        items = value if isinstance(value, list | tuple) else [] if value is None else [value]
        return tuple(_read_one(option, item) for item in items)
    return None if value is None else _read_one(option, value)


def _read_one(option: Option, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str if option.read is text else str | int | float):
        # Of a URI it may be the password that is shown.
        shown = "the value" if option.name in _URIS else repr(value)
        raise BadOption(f"{option.name}: {shown} is of the wrong kind")
    try:
        return option.value(str(value))
    except ValueError as error:
        raise BadOption(f"{option.name}: {value!r} does not do: {error}") from None
