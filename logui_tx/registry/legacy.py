"""Tokens that a released LogUI server signed, so that pages which bear them need no other.

It signed ``{"type", "applicationID", "flightID"}`` by ``django.core.signing.dumps``; Django reads them here.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from logui_tx.errors import BadOption, KeysUnusable
from logui_tx.registry.tokens import TokenClaims

CLIENT_VERSION = "0.5"
"""What such a token is taken to bear: it tells none, and LogUI 0.4 asks for another."""

_TYPE = "logUI-authorisation-object"
_SALT = "django.core.signing"
# Django before 3.1 signed with SHA-1.
_ALGORITHMS = ("sha256", "sha1")
_LONGEST = 4096
_SHORT = 16
_MAX_FILE = 65_536
_SETTING = re.compile(r"\s*(?:export\s+)?SECRET_KEY\s*=(.*)")

log = logging.getLogger(__name__)


def read_legacy(file: Path | None) -> Callable[[str], TokenClaims | None] | None:
    """What reads the tokens of the keys in this file: claims, or None for any other text; None for no file.

    Raises :class:`KeysUnusable` for the file, and :class:`BadOption` where Django is missing.
    """
    return None if file is None else LegacyTokens(read_keys(file)).read


def read_keys(file: Path) -> tuple[str, ...]:
    """The keys of a file: one a line, or those of its lines ``SECRET_KEY=…`` where there are any (``.env``).

    Raises :class:`KeysUnusable`, whose text shows nothing of the content.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise KeysUnusable(f"the legacy key file {file} is too large")
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise KeysUnusable(f"the legacy key file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeysUnusable(f"the legacy key file {file} is not text: one key a line is expected") from None
    settings = [found[1] for found in map(_SETTING.fullmatch, lines) if found]
    keys = [each.strip() for each in settings or lines]
    # Which quotes are part of a key depends on what read that file: with them and without them it is tried.
    keys += [key[1:-1] for key in keys if key[:1] in ("'", '"') and key[-1:] == key[:1]]
    found = tuple(dict.fromkeys(key for key in keys if key.strip("'\"")))
    if not found:
        raise KeysUnusable(f"the legacy key file {file} has no key in it")
    if any(len(key) < _SHORT for key in found):
        log.warning("a key in %s is short: who guesses it can make tokens for every flight", file)
    return found


class LegacyTokens:
    """Believes the tokens that one of the keys has signed."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        try:
            from django.core import signing
        except ImportError:
            raise BadOption(
                "legacy-secret-key-file needs the extra logui-tx[legacy], which is not installed"
            ) from None
        first, *others = keys
        self._serializer = signing.JSONSerializer
        self._refused = (signing.BadSignature, zlib.error, ValueError, KeyError, RecursionError)
        # All is given, so that Django asks for no settings.
        self._signers = [
            signing.TimestampSigner(key=first, fallback_keys=others, salt=_SALT, algorithm=algorithm)
            for algorithm in _ALGORITHMS
        ]

    def read(self, token: str) -> TokenClaims | None:
        """What the token claims; None where none of the keys signed it, or it is no flight's."""
        if not token.isascii() or len(token) > _LONGEST:
            return None
        for signer in self._signers:
            try:
                # The signature is checked before anything is made of the content.
                content = signer.unsign_object(token, serializer=self._serializer)
            except self._refused:
                continue
            match content:
                case {"type": str(kind), "applicationID": str(app_id), "flightID": str(flight_id)}:
                    return TokenClaims(app_id, flight_id, CLIENT_VERSION) if kind == _TYPE else None
            return None
        return None
