"""Values that this server has signed, with HMAC-SHA256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from itsdangerous import BadData, URLSafeSerializer, base64_decode, base64_encode


class Signature:
    """Signs with the newest key and believes all of them; each purpose has its ``salt``.

    ``keys`` gives the keys, the newest first; ``longest`` is the most characters that are looked at. What is
    signed is not secret to whoever bears it.
    """

    def __init__(self, keys: Callable[[], tuple[str, ...]], salt: bytes, longest: int = 4096) -> None:
        self._keys = keys
        self._salt = salt
        self._longest = longest
        self._current: tuple[tuple[str, ...], URLSafeSerializer] | None = None

    def sign(self, value: Any) -> str:
        """The JSON value and its signature, in letters that a URL may hold."""
        return str(self._serializer().dumps(value))

    def read(self, text: str) -> Any:
        """The value that was signed; None where no key of this server signed it, or not for this purpose."""
        if not text.isascii() or len(text) > self._longest:
            return None
        try:
            value = self._serializer().loads(text)
            # The last bits of a base64 text are free: of the texts with this signature, one is the right one.
            signature = text.rpartition(".")[2]
            return value if base64_encode(base64_decode(signature)).decode() == signature else None
        except BadData:
            return None

    def _serializer(self) -> URLSafeSerializer:
        keys = self._keys()
        if self._current is None or self._current[0] != keys:
            serializer = URLSafeSerializer(
                list(reversed(keys)),  # itsdangerous signs with the last and verifies with all
                salt=self._salt,
                signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
            )
            self._current = (keys, serializer)
        return self._current[1]
