"""WebSocket frames as a client sends them, made beforehand: masked, and compressed where that was agreed.

Each message is compressed for itself, so that it may be sent at any place. Browsers go on from one message to
the next: theirs are smaller, and cost the server the same inflater.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

OFFER = "permessage-deflate; client_max_window_bits"
"""What Chromium offers."""

_FINAL, _COMPRESSED, _MASKED = 0x80, 0x40, 0x80
_TEXT, _PING = 0x1, 0x9
_TAIL = b"\x00\x00\xff\xff"

_random = random.Random(7)


def text(message: bytes, *, deflate: bool = False) -> bytes:
    if not deflate:
        return _frame(_FINAL | _TEXT, message)
    squeeze = zlib.compressobj(wbits=-15)
    squeezed = squeeze.compress(message) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    return _frame(_FINAL | _COMPRESSED | _TEXT, squeezed.removesuffix(_TAIL))


def ping() -> bytes:
    return _frame(_FINAL | _PING, b"")


def write_all(path: Path, frames: Iterable[bytes]) -> None:
    """Write them as the generator reads them: each behind its size."""
    with path.open("wb") as file:
        for frame in frames:
            file.write(struct.pack("<I", len(frame)) + frame)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", first, _MASKED | size)
    elif size < 65_536:
        head = struct.pack(">BBH", first, _MASKED | 126, size)
    else:
        head = struct.pack(">BBQ", first, _MASKED | 127, size)
    mask = _random.randbytes(4)
    key = int.from_bytes(mask * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
