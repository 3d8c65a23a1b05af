"""Who sends more than can be written is not read from for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from logui_tx.interfaces import IPeer

_COST = 512
"""Bytes that a message may take while it waits, besides its own."""
_FEW = 1000
"""Messages that may wait in any case."""


class Common(Protocol):
    """What all connections share."""

    @property
    def congested(self) -> bool:
        """Whether nothing more should be read from anybody."""

    def when_clear(self, call: Callable[[], None]) -> None:
        """Call once that is over."""


class Flow:
    """Of one connection: what came over it and is not answered yet.

    Past ``most_bytes`` of it, or as many messages as go with that, reading stops; at half of both it goes on.
    """

    __slots__ = ("_bytes", "_common", "_messages", "_most_bytes", "_most_messages", "_paused", "_peer")

    def __init__(self, peer: IPeer, common: Common, most_bytes: int) -> None:
        self._peer = peer
        self._common = common
        self._most_bytes = most_bytes
        self._most_messages = messages(most_bytes)
        self._bytes = self._messages = 0
        self._paused = False

    def more(self, size: int) -> None:
        """A message of so many bytes waits."""
        self._bytes += size
        self._messages += 1
        if not self._paused:
            congested = self._common.congested
            if congested or self._bytes > self._most_bytes or self._messages > self._most_messages:
                self._paused = True
                self._peer.pause()
                if congested:
                    self._common.when_clear(self._resume_if_clear)

    def less(self, size: int) -> None:
        """One waits no more."""
        self._bytes -= size
        self._messages -= 1
        if self._paused:
            self._resume_if_clear()

    def forget(self) -> None:
        """What waits is of no interest any more."""
        self._bytes = self._messages = 0
        self._resume_if_clear()

    def _resume_if_clear(self) -> None:
        few = self._bytes <= self._most_bytes // 2 and self._messages <= self._most_messages // 2
        if self._paused and few:
            if self._common.congested:
                self._common.when_clear(self._resume_if_clear)
            else:
                self._paused = False
                self._peer.resume()


def messages(most_bytes: int) -> int:
    """How many may wait where so many bytes of them may, however small they are."""
    return max(_FEW, most_bytes // _COST)
