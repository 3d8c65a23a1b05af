"""A sink's URI, read: what every sink has in common, and what its maker's table of parameters says.

::

    scheme:[//[user[:password]@]host[:port][,…]][/path][?parameter=value&…]

No error quotes the URI: it may hold a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import field, frozen

from logui_tx.errors import BadOption
from logui_tx.interfaces import ISinkMaker
from logui_tx.model import SinkURI
from logui_tx.options import Parameter, count, duration, size, text


def start(value: str) -> str:
    """Where a sink begins that is new to the journal."""
    if value not in ("now", "beginning"):
        raise ValueError("now or beginning is expected")
    return value


COMMON = (
    Parameter("name", text, None, "By which its progress is kept; by default the URI's place."),
    Parameter("start", start, "now", "Where a sink begins that is new: now, or the journal's beginning."),
    Parameter("batch", count, "1000", "Most records of a batch, and most sessions.", least=1),
    Parameter("batch-bytes", size, "1MiB", "About the most bytes of a batch, data included.", least=1),
    Parameter("batch-age", duration, "250ms", "Longest time that records are gathered."),
    Parameter("retry-max", duration, "1m", "Longest time between two attempts.", least=0.001),
    Parameter("step", text, None, "Done to each record before; may be repeated.", many=True),
)
"""What the query of every sink's URI may hold. A maker that lists one of them has a default of its own."""


def one_of(*words: str) -> Callable[[str], str]:
    """Reads one of these words, in whatever case."""
    by_word = {word.lower(): word for word in words}

    def read(value: str) -> str:
        if value.lower() not in by_word:
            raise ValueError(f"one of {', '.join(words)} is expected")
        return by_word[value.lower()]

    return read


def permissions(value: str) -> int:
    """Of a folder, as chmod has them: what its owner may do is not for us to take away."""
    if not re.fullmatch(r"0?7[0-7]{2}", value):
        raise ValueError("permissions are expected, such as 0700 or 0750")
    return int(value, 8)


def statuses(value: str) -> frozenset[int]:
    """HTTP's, of errors that are the client's."""
    found = value.split(",") if value else []
    if not all(re.fullmatch(r"4\d\d", one) for one in found):
        raise ValueError("statuses from 400 to 499 are expected, such as 401,403,429")
    return frozenset(map(int, found))


@frozen
class SinkOptions:
    """What is common to all sinks; times in seconds, sizes in bytes. ``kind`` is the maker's first scheme."""

    name: str
    start: str = "now"
    batch: int = 1_000
    batch_bytes: int = 1024 * 1024
    batch_age: float = 0.25
    retry_max: float = 60.0
    step: tuple[str, ...] = field(default=())
    kind: str = ""


def read_uri(uri: str, makers: Sequence[ISinkMaker]) -> tuple[ISinkMaker, SinkURI, SinkOptions]:
    """The maker for the URI, what it is to make the sink of, and how it is to be delivered to.

    Raises :class:`BadOption` with what would be right.
    """
    scheme, colon, _ = uri.partition(":")
    maker = next((one for one in makers if scheme.lower() in one.schemes), None) if colon else None
    if maker is None:
        known = sorted(scheme for one in makers for scheme in one.schemes)
        raise _bad("", f"this kind of sink is not known; known are {', '.join(f'{s}:' for s in known)}")
    parts = _split(uri, maker)
    values = _query(parts.query, maker)
    common = {p.name.replace("-", "_"): values.pop(p.name) for p in COMMON}
    user, password, host = _authority(parts)
    common["name"] = common["name"] or _name(parts.scheme, host, parts.path)
    common["step"] = tuple(common["step"])
    read = SinkURI(parts.scheme, host, unquote(parts.path), user, password, values, common["name"])
    return maker, read, SinkOptions(**common, kind=maker.schemes[0])


def read_parameters(
    given: Iterable[tuple[str, str]], parameters: Sequence[Parameter], scheme: str
) -> dict[str, Any]:
    """The parameters' values by name, defaults included. Raises :class:`BadOption`."""
    by_name = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {
        p.name: [] if p.many else None if p.default is None else p.value(p.default) for p in parameters
    }
    for name, written in given:
        parameter = by_name.get(name)
        if parameter is None:
            # Its name may be what follows a ? in a password; the ones that are known are not.
            close = difflib.get_close_matches(name, by_name, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(by_name))}"
            raise _bad(scheme, f"unknown parameter{hint}")
        if "\0" in written:
            raise _bad(scheme, f"{name}: a text without NUL is expected")
        try:
            value = parameter.value(written)
        except ValueError as error:
            raise _bad(scheme, f"{name}: {error}") from None
        if parameter.many:
            values[name].append(value)
        else:
            values[name] = value
    return values


def _split(uri: str, maker: ISinkMaker) -> SplitResult:
    try:
        uri.encode()
        parts = urlsplit(uri)
    except ValueError:
        raise _bad("", f"the URI cannot be read; {maker.form} would be one") from None
    if parts.netloc and "@" in parts.path:
        raise _bad(parts.scheme, "a / in a user or password is written %2F, an @ in a path %40")
    if parts.fragment:
        raise _bad(parts.scheme, "a # in a user, password or path is written %23")
    return parts


def _query(query: str, maker: ISinkMaker) -> dict[str, Any]:
    scheme = maker.schemes[0]
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise _bad(scheme, "parameters are written ?name=value&name=value") from None
    return read_parameters(given, [*COMMON, *maker.parameters], scheme)


def _authority(parts: SplitResult) -> tuple[str | None, str | None, str]:
    credentials, at, host = parts.netloc.rpartition("@")
    if not at:
        return None, None, host
    user, _, password = credentials.partition(":")
    return unquote(user) or None, unquote(password) or None, host


def _name(scheme: str, host: str, path: str) -> str:
    """Without credentials and parameters: they change while the place stays the same."""
    return f"{scheme}:{'//' + host if host else ''}{unquote(path)}"


def _bad(scheme: str, why: str) -> BadOption:
    return BadOption(f"sink: {scheme + ': ' if scheme else ''}{why}")
