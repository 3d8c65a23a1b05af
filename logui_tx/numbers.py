"""The sequence numbers that this server may give to the events of a session.

A server that is alone with its sessions may give any. Servers that share a session store each hold blocks of
a session's numbers that no other holds, so that none is ever given twice; where a block begins above the last
number, the sequence jumps (PROTOCOL, *Common rules*, knows no gaps within a block).
"""

from __future__ import annotations

from zlib import crc32

from attrs import define, field

MOST = 2**53 - 1
"""The largest whole number that every reader of JSON understands."""
BLOCK = 1_000_000
"""Numbers in a block: enough for hours without the store, and a jump that is still read at a glance."""
LOW = BLOCK // 2
"""With fewer than this left, the next block is asked for."""
BLIND = 1_000_000_000
"""Without the store's word on what others hold, a block begins above the next multiple of this: above
anything that a session reaches in blocks."""


@define
class Numbers:
    """Blocks (first and last number), rising; the methods are told the last number that was given."""

    blocks: list[tuple[int, int]]
    end: int = field(init=False)
    """The last number of all."""

    def __attrs_post_init__(self) -> None:
        self.end = self.blocks[-1][1]

    @classmethod
    def any(cls) -> Numbers:
        """For a server that shares with no other."""
        return cls([(1, MOST)])

    @classmethod
    def blind(cls, last: int, server: str) -> Numbers:
        """A block for when nobody can tell which numbers others hold.

        Others may be cut off at the same time, so each ``server`` has a place of its own, as far as a hash
        tells.
        """
        first = (last // BLIND + 1) * BLIND + _place(server)
        return cls([(first, first + BLOCK - 1)])

    def unused_above(self, last: int, server: str) -> int | None:
        """The number above which nothing was used and may be given back; None where nothing may.

        Below the last block others may hold some. What was taken blindly could be taken so again.
        """
        first = self.blocks[-1][0]
        return None if first % BLIND == _place(server) else max(last, first - 1)

    def first(self, last: int, count: int) -> int | None:
        """The first of ``count`` numbers in a row above ``last``; None where there are not so many."""
        for first, end in self.blocks:
            start = last + 1 if last >= first else first
            if start + count - 1 <= end:
                return start
        return None

    def left(self, last: int) -> int:
        """How many there are above ``last``."""
        return sum(end - max(first, last + 1) + 1 for first, end in self.blocks if end > last)

    def add(self, first: int, end: int, last: int) -> None:
        """One more block, above all others; those below ``last`` are used up."""
        self.blocks = [block for block in self.blocks if block[1] > last]
        if self.blocks and self.blocks[-1][1] + 1 == first:
            first = self.blocks.pop()[0]
        self.blocks.append((first, end))
        self.end = end


def _place(server: str) -> int:
    """The first number of a server's place; not that of the store's first block."""
    return (1 + crc32(server.encode()) % (BLIND // BLOCK - 1)) * BLOCK + 1
