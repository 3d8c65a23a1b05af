"""Where a Redis is and how to speak to it, read from a URI.

::

    redis://[[user]:password@]host[:port][/database][?prefix=logui&timeout=1s]
    rediss://…                                       TLS; also ?ca=FILE&cert=FILE&key=FILE
    redis+unix://[[user]:password@]/path/of/socket[?database=0&…]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from attrs import field, frozen
from hyperlink import DecodedURL, URLParseError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from logui_tx.errors import BadOption
from logui_tx.options import duration

SCHEMES = ("redis", "rediss", "redis+unix")
STORE = "session-store"
PREFIX = "logui"
TIMEOUT = 1.0

# A name, or an address of either kind, maybe with its scope.
_HOST = re.compile(r"(?!.{254})[\w-]{1,63}(\.[\w-]{1,63})*\.?|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[\w.-]+)?")

_PARAMETERS = {
    "redis": {"prefix", "timeout"},
    "rediss": {"prefix", "timeout", "ca", "cert", "key"},
    "redis+unix": {"prefix", "timeout", "database"},
}


@frozen
class RedisAddress:
    """``timeout`` in seconds is that of every command; ``prefix`` stands before every key and a colon.

    ``option`` is what errors begin with.
    """

    host: str = ""
    port: int = 6379
    path: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    prefix: str = PREFIX
    timeout: float = TIMEOUT
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    option: str = field(default=STORE, eq=False)

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """Where to connect to; raises :class:`BadOption` where TLS cannot be set up."""
        if self.path:
            return UNIXClientEndpoint(reactor, self.path)
        plain = HostnameEndpoint(reactor, self.host, self.port, timeout=self.timeout)
        return wrapClientTLS(self._tls(), plain) if self.tls else plain

    def _tls(self) -> Any:
        try:
            from twisted.internet import ssl
        except ImportError:
            raise bad_address("rediss: needs the extra logui-tx[tls]", self.option) from None
        authorities = own = None
        try:
            if self.ca is not None:
                authorities = ssl.trustRootFromCertificates(
                    [ssl.Certificate.loadPEM(text) for text in _certificates(Path(self.ca))]
                )
            if self.cert is not None:
                pem = Path(self.cert).read_bytes() + b"\n" + Path(self.key or self.cert).read_bytes()
                own = ssl.PrivateCertificate.loadPEM(pem)
        except OSError as error:
            why = f"a certificate cannot be read: {error.filename}: {error.strerror}"
            raise bad_address(why, self.option) from None
        except Exception:  # noqa: BLE001 - OpenSSL's own errors say nothing to a reader
            raise bad_address("a certificate or key is not valid PEM", self.option) from None
        options: dict[str, Any] = {"clientCertificate": own} if own is not None else {}
        if authorities is not None:
            options["trustRoot"] = authorities
        try:
            return ssl.optionsForClientTLS(self.host, **options)
        except UnicodeError:
            # The rules of names with other letters than a to z, which also hold for the rest.
            raise _no_host(self.option) from None


def read_address(uri: str) -> RedisAddress:
    """Raises :class:`BadOption`, never with the URI: it may hold a password."""
    url = _parse(uri)
    if url is None or url.scheme not in _PARAMETERS:
        raise bad_address("the URI cannot be read; redis://host:6379/0 would be one")
    if url.fragment:
        raise bad_address("a # in a user or password is written %23")
    user, password = _credentials(url)
    found = _parameters(url, _PARAMETERS[url.scheme])
    if "timeout" in found:
        found["timeout"] = _timeout(found["timeout"])
    return make_address(url.scheme, url.host, url.port, list(url.path), user=user, password=password, **found)


def make_address(
    scheme: str,
    host: str,
    port: int | None,
    path: Sequence[str],
    *,
    database: str = "",
    option: str = STORE,
    **more: Any,
) -> RedisAddress:
    """Of a URI's parts; ``path`` is between its slashes, ``more`` as :class:`RedisAddress` has it.

    Raises :class:`BadOption`.
    """
    if scheme == "redis+unix":
        if host or not any(path):
            why = "redis+unix: needs the path of a socket and no host: redis+unix:///run/redis.sock"
            raise bad_address(why, option)
        return RedisAddress(
            path="/" + "/".join(path), database=_database(database, option), option=option, **more
        )
    if not host:
        raise _no_host(option)
    parts = [part for part in path if part]
    if len(parts) > 1:
        raise bad_address("the path is the number of a database: redis://host:6379/0", option)
    port = 6379 if port is None else port
    if not 0 < port < 65536:
        raise bad_address("the port is a number from 1 to 65535: redis://host:6379/0", option)
    if not _HOST.fullmatch(host):
        raise _no_host(option)
    return RedisAddress(
        host=host,
        port=port,
        database=_database("".join(parts), option),
        tls=scheme == "rediss",
        option=option,
        **more,
    )


def _parse(uri: str) -> DecodedURL | None:
    """None where it cannot be read: the error that says why would quote the URI."""
    try:
        uri.encode()
        return DecodedURL.from_text(uri)
    except (URLParseError, ValueError):
        return None


def _credentials(url: DecodedURL) -> tuple[str | None, str | None]:
    parts = url.userinfo
    if not parts or parts == ("",):
        return None, None
    if len(parts) == 1:
        raise bad_address("a user without a password: redis://user:password@host or redis://:password@host")
    return parts[0] or None, parts[1] or None


def _parameters(url: DecodedURL, known: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in url.query:
        if name not in known:
            # Its name may be what follows a ? in a password.
            raise bad_address(f"unknown parameter; known are {', '.join(sorted(known))}")
        if not value:
            raise bad_address(f"the parameter {name} needs a value")
        found[name] = value
    return found


def _timeout(text: str) -> float:
    try:
        seconds = duration(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise bad_address("timeout: a time is expected, such as 1s or 500ms")
    return seconds


def _database(text: str, option: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise bad_address("the database is a number: redis://host:6379/0", option)
    return int(text)


def _certificates(path: Path) -> list[bytes]:
    end = b"-----END CERTIFICATE-----"
    return [part + end for part in path.read_bytes().split(end)[:-1]]


def _no_host(option: str) -> BadOption:
    return bad_address("a host is expected: redis://host:6379/0", option)


def bad_address(text: str, option: str = STORE) -> BadOption:
    """To be raised."""
    return BadOption(f"{option}: {text}")
