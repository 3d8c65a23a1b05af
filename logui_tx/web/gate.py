"""How many connections there may be, in all and from one address."""

from __future__ import annotations

import resource
from collections import Counter

from attrs import define, field

RESERVED_DESCRIPTORS = 64
"""File descriptors kept for everything that is not a client: journal, registry, logs, listening."""


def descriptors() -> int:
    """Allow as many file descriptors as the system lets us, and say how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@define
class Gate:
    """``most`` in all, ``most_per_address`` from one address; 0 means any number."""

    most: int
    most_per_address: int
    connections: int = 0
    _by_address: Counter[str] = field(factory=Counter)

    def why_not(self, address: str) -> tuple[int, str] | None:
        """The HTTP status and text for one connection too many; None if there is room."""
        if self.most and self.connections >= self.most:
            return 503, "The server has as many connections as it can hold. Try again later."
        if self.most_per_address and self._by_address[address] >= self.most_per_address:
            return 429, "There are too many connections from this address."
        return None

    def enter(self, address: str) -> None:
        """Count a connection."""
        self.connections += 1
        self._by_address[address] += 1

    def leave(self, address: str) -> None:
        """A connection that was counted is gone."""
        self.connections -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
