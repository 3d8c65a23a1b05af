"""``blackhole:`` takes everything and keeps nothing: for measurements, and the pattern to copy."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from logui_tx.errors import BadOption
from logui_tx.interfaces import ISink
from logui_tx.model import SinkBatch, SinkURI


@implementer(ISink)
class Blackhole:
    """See :class:`ISink`."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:  # noqa: ARG002 - it needs none
        if uri.host or uri.path:
            raise BadOption("sink: blackhole: has no place; blackhole: is all")

    def open(self, state: bytes) -> Deferred[None]:  # noqa: ARG002
        return succeed(None)

    def prepare(self, batch: SinkBatch) -> None:  # noqa: ARG002
        return None

    def write(self, batch: SinkBatch) -> Deferred[bytes]:  # noqa: ARG002
        return succeed(b"")

    def close(self) -> Deferred[None]:
        return succeed(None)
