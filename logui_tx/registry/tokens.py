"""The signed tokens by which clients name their flight, and the keys that sign them.

A token's content is ``{"appID", "flightID", "clientVersion"}``, signed with HMAC-SHA256; it is not secret
to the page that bears it, but it never goes into a log or an error.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

from attrs import frozen

from logui_tx.errors import InvalidToken, KeysUnusable
from logui_tx.model import Flight
from logui_tx.registry.signing import Signature

FILE_NAME = "secret.key"

_KEY_BYTES = 32
_LEAST_LENGTH = 16
_LEAST_VARIETY = 6  # different characters
_RECHECK = 0.5  # seconds
_SALT = b"logui-tx.flight-token"

# Visible ASCII and white space.
_TEXT = frozenset(b"\t\n\r") | frozenset(range(0x20, 0x7F))

log = logging.getLogger(__name__)


@frozen
class TokenClaims:
    """What a verified token says."""

    app_id: str
    flight_id: str
    client_version: str


class SigningKeys:
    """The file ``secret.key`` in the data folder: one key a line, the first signs, all verify.

    It is made on first use (mode 0600), and read again when another process rotated it. ``file`` is another
    one in its place, which several servers may share; it is made by :meth:`create` alone.
    ``seconds`` is a monotonic clock. Safe to use from several threads.
    """

    def __init__(
        self, data_dir: Path, seconds: Callable[[], float] = time.monotonic, file: Path | None = None
    ) -> None:
        self.path = file or data_dir / FILE_NAME
        self._make = file is None
        self._seconds = seconds
        self._keys: tuple[str, ...] = ()
        self._seen: tuple[int, int, int] | None = None
        self._checked = 0.0

    def keys(self) -> tuple[str, ...]:
        """The keys, the signing one first; at most half a second behind the file.

        Raises :class:`KeysUnusable` when there is no key to be had. Once there were keys, a file that
        has become unreadable is logged and the last ones stay in force.
        """
        now = self._seconds()
        if self._keys and now - self._checked < _RECHECK:
            return self._keys
        # A stat of a local file, twice a second at most, is not worth a thread.
        self._checked = now
        if not self._keys:
            self._load_first()
        else:
            self._refresh()
        return self._keys

    def create(self) -> bool:
        """Makes the file with one new key; whether there was none before. An existing one is left alone.

        Raises :class:`KeysUnusable` where it cannot be written.
        """
        try:
            return self._write((_new_key(),))
        except OSError as error:
            raise self._unusable(error.strerror) from error

    def rotate(self) -> None:
        """Puts a new key before the others. Tokens signed with the older ones stay valid.

        Raises :class:`KeysUnusable` when the file cannot be read or replaced.
        """
        import fcntl  # not on Windows, where everything else of this module works

        self.keys()
        try:
            while True:
                with self.path.open("rb") as file:
                    # Two rotations at once must not lose a key: the second waits, finds the file replaced
                    # under its lock and starts anew.
                    fcntl.flock(file, fcntl.LOCK_EX)
                    stat = os.fstat(file.fileno())
                    if stat.st_ino != self.path.stat().st_ino:
                        continue
                    keys = (_new_key(), *self._parsed(file.read()))
                    self._write(keys, instead_of=stat)
                    break
        except OSError as error:
            raise self._unusable(error.strerror) from error
        self._keys, self._seen = keys, None

    def _load_first(self) -> None:
        try:
            if not self.path.exists():
                if not self._make:
                    raise self._unusable("there is no such file; logui key create makes one")
                self._write((_new_key(),))
            self._read()
        except OSError as error:
            raise self._unusable(error.strerror) from error
        if self.path.stat().st_mode & 0o077:
            log.warning("%s can be read by other users of this machine: chmod 600 is advised", self.path)

    def _refresh(self) -> None:
        try:
            if _fingerprint(self.path.stat()) != self._seen:
                self._read()
        except (OSError, KeysUnusable) as error:
            if self._seen is not None:
                said = self._unusable(error.strerror) if isinstance(error, OSError) else error
                log.warning("%s: going on with the keys known so far", said)
            self._seen = None

    def _read(self) -> None:
        with self.path.open("rb") as file:
            seen = _fingerprint(os.fstat(file.fileno()))
            keys = self._parsed(file.read())
        self._keys, self._seen = keys, seen

    def _parsed(self, content: bytes) -> tuple[str, ...]:
        """The keys of a file; blank lines are none. The errors show nothing of it."""
        if not all(byte in _TEXT for byte in content):
            raise self._unusable("it is not plain text: one key a line is expected")
        lines = [(number, line.strip()) for number, line in enumerate(content.decode().splitlines(), 1)]
        keys = [(number, key) for number, key in lines if key]
        for number, key in keys:
            if len(key) < _LEAST_LENGTH:
                raise self._unusable(f"the key in line {number} has less than {_LEAST_LENGTH} characters")
            if len(set(key)) < _LEAST_VARIETY:
                raise self._unusable(f"the key in line {number} could be guessed")
        if not keys:
            raise self._unusable("there is no key in it")
        return tuple(key for _, key in keys)

    def _write(self, keys: tuple[str, ...], instead_of: os.stat_result | None = None) -> bool:
        """All or nothing, on disk when it returns; whether this is what the file holds now.

        Replaces the file that ``instead_of`` describes; without it, a file that exists is left alone.
        """
        # What a link names is replaced, not the link.
        path, written = self.path.resolve(), True
        # NamedTemporaryFile makes files of mode 0600.
        with NamedTemporaryFile("w", dir=path.parent, prefix=path.name + ".", encoding="ascii") as file:
            file.writelines(key + "\n" for key in keys)
            if instead_of is not None:
                _own_like(file.fileno(), instead_of)
            file.flush()
            os.fsync(file.fileno())
            if instead_of is not None:
                # A second name is what moves over the file; the temporary one is removed on leaving.
                spare = f"{file.name}.new"
                os.link(file.name, spare)
                os.replace(spare, path)
            else:
                # link() fails where another process was quicker; its key is as good as ours.
                try:
                    os.link(file.name, path)
                except FileExistsError:
                    written = False
        _sync_folder(path.parent)
        return written

    def _unusable(self, reason: str | None) -> KeysUnusable:
        return KeysUnusable(f"the signing keys {self.path} cannot be used: {reason or 'unknown error'}")


class TokenSigner:
    """Issues tokens and believes only those that one of the keys has signed.

    ``legacy`` reads those of another server that are believed, too; None for any other text.
    """

    def __init__(self, keys: SigningKeys, legacy: Callable[[str], TokenClaims | None] | None = None) -> None:
        self._signature = Signature(keys.keys, _SALT)
        self._legacy = legacy

    def issue(self, flight: Flight) -> str:
        """The flight's token, signed with the newest key."""
        claims = {
            "appID": flight.application_id,
            "flightID": flight.id,
            "clientVersion": flight.client_version,
        }
        return self._signature.sign(claims)

    def read(self, token: str) -> TokenClaims:
        """What the token claims. Raises :class:`InvalidToken`, whose text says nothing of the token's."""
        content = self._signature.read(token)
        if content is None and self._legacy is not None and (claims := self._legacy(token)) is not None:
            return claims
        if content is None:
            raise InvalidToken("the token was not signed by this server")
        match content:
            case {"appID": str(app_id), "flightID": str(flight_id), "clientVersion": str(version)}:
                return TokenClaims(app_id, flight_id, version)
        raise InvalidToken("the token is not a flight's")


def _new_key() -> str:
    return secrets.token_urlsafe(_KEY_BYTES)


def _fingerprint(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _own_like(descriptor: int, stat: os.stat_result) -> None:
    """Owner and mode of the file before: root may rotate the keys of a server that runs as another user."""
    if os.geteuid() == 0:
        os.fchown(descriptor, stat.st_uid, stat.st_gid)
    os.fchmod(descriptor, stat.st_mode & 0o777)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
