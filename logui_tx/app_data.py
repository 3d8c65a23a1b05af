"""Application-specific data: what a page says about its events, changed as it goes on."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from attrs import field, frozen

from logui_tx.dialects import json_text


@frozen
class AppData:
    """The data in force: each key's encoded value, and the whole as a JSON object.

    Values stay as the client wrote them. ``null`` means absent: it deletes a key and sets none.
    ``version`` counts the changes and ``server`` made the last one ("" is this one): of two changes that two
    servers make at once, the greater pair wins everywhere.
    """

    values: Mapping[str, bytes] = field(factory=dict)
    encoded: bytes = b"{}"
    version: int = field(default=0, eq=False)
    server: str = field(default="", eq=False)

    @classmethod
    def decode(cls, encoded: bytes, version: int = 0, server: str = "") -> AppData:
        """The opposite of ``encoded``."""
        return cls(json_text.members(encoded), encoded, version, server)

    def changed(self, changes: Mapping[str, bytes]) -> AppData:
        """The data after ``changes``; the same object where nothing changes."""
        if not changes:
            return self
        values = {**self.values, **changes}
        values = {key: value for key, value in values.items() if value != b"null"}
        if values == self.values:
            return self
        return AppData(values, _encode(values), self.version + 1)

    def replaced(self, encoded: bytes) -> AppData:
        """Other data, whole and as it was written; the same object where nothing changes."""
        if encoded == self.encoded:
            return self
        return AppData(json_text.members(encoded), encoded, self.version + 1)


def _encode(values: Mapping[str, bytes]) -> bytes:
    return msgspec.json.encode({key: msgspec.Raw(value) for key, value in values.items()})
