"""Where a Redis is and how to speak to it, read from a URI.

::

    redis://[[user]:password@]host[:port][/database][?prefix=logui&timeout=1s]
    rediss://…                                       TLS; also ?ca=FILE&cert=FILE&key=FILE
    redis+unix://[[user]:password@]/path/of/socket[?database=0&…]
"""

from __future__ import annotations

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
PREFIX = "logui"
TIMEOUT = 1.0

_PARAMETERS = {
    "redis": {"prefix", "timeout"},
    "rediss": {"prefix", "timeout", "ca", "cert", "key"},
    "redis+unix": {"prefix", "timeout", "database"},
}


@frozen
class RedisAddress:
    """``timeout`` in seconds is that of every command; ``prefix`` stands before every key and a colon."""

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
            raise _bad("rediss: needs the extra logui-tx[tls]") from None
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
            raise _bad(f"a certificate cannot be read: {error.filename}: {error.strerror}") from None
        except Exception:  # noqa: BLE001 - OpenSSL's own errors say nothing to a reader
            raise _bad("a certificate or key is not valid PEM") from None
        options: dict[str, Any] = {"clientCertificate": own} if own is not None else {}
        if authorities is not None:
            options["trustRoot"] = authorities
        return ssl.optionsForClientTLS(self.host, **options)


def read_address(uri: str) -> RedisAddress:
    """Raises :class:`BadOption`, never with the URI: it may hold a password."""
    url = _parse(uri)
    if url is None or url.scheme not in _PARAMETERS:
        raise _bad("the URI cannot be read; redis://host:6379/0 would be one")
    if url.fragment:
        raise _bad("a # in a user or password is written %23")
    scheme = url.scheme
    user, password = _credentials(url)
    found = _parameters(url, _PARAMETERS[scheme])
    common: dict[str, Any] = {"user": user, "password": password, "prefix": found.get("prefix", PREFIX)}
    if "timeout" in found:
        common["timeout"] = _timeout(found["timeout"])
    if scheme == "redis+unix":
        path = "/" + "/".join(url.path)
        if url.host or path == "/":
            raise _bad("redis+unix: needs the path of a socket and no host: redis+unix:///run/redis.sock")
        return RedisAddress(path=path, database=_database(found.get("database", "")), **common)
    if not url.host:
        raise _bad("a host is expected: redis://host:6379/0")
    if len([part for part in url.path if part]) > 1:
        raise _bad("the path is the number of a database: redis://host:6379/0")
    port = 6379 if url.port is None else url.port
    if not 0 < port < 65536:
        raise _bad("the port is a number from 1 to 65535: redis://host:6379/0")
    return RedisAddress(
        host=url.host,
        port=port,
        database=_database(next((part for part in url.path if part), "")),
        tls=scheme == "rediss",
        ca=found.get("ca"),
        cert=found.get("cert"),
        key=found.get("key"),
        **common,
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
        raise _bad("a user without a password: redis://user:password@host or redis://:password@host")
    return parts[0] or None, parts[1] or None


def _parameters(url: DecodedURL, known: set[str]) -> dict[str, str]:
    found = {}
    for name, value in url.query:
        if name not in known:
            # Its name may be what follows a ? in a password.
            raise _bad(f"unknown parameter; known are {', '.join(sorted(known))}")
        if not value:
            raise _bad(f"the parameter {name} needs a value")
        found[name] = value
    return found


def _timeout(text: str) -> float:
    try:
        seconds = duration(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise _bad("timeout: a time is expected, such as 1s or 500ms")
    return seconds


def _database(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise _bad("the database is a number: redis://host:6379/0")
    return int(text)


def _certificates(path: Path) -> list[bytes]:
    end = b"-----END CERTIFICATE-----"
    return [part + end for part in path.read_bytes().split(end)[:-1]]


def _bad(text: str) -> BadOption:
    return BadOption(f"session-store: {text}")
