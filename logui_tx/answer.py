"""A place in the row of a conversation's answers, which leave in the order of the messages."""

from __future__ import annotations

from typing import Protocol

import msgspec

from logui_tx.errors import NotStored
from logui_tx.model import Leave, Receipt, Reply


class Answering(Protocol):
    """Whose answers they are."""

    def stored(self, receipt: Receipt, answer: Answer) -> None:
        """A payload is on disk."""

    def unstored(self, why: NotStored, answer: Answer) -> None:
        """It could not be stored."""


class Answer(msgspec.Struct, eq=False):
    """A place in the row of answers; ``reply`` is None until it is known.

    For a payload it is what the intake tells (see :class:`Waiting`), which may be before it has its place.
    """

    conversation: Answering
    size: int
    payload_id: int | None = None
    leave: Leave | None = None
    reply: Reply | None = None
    placed: bool = False
    told: Receipt | NotStored | None = None

    def callback(self, receipt: Receipt) -> None:
        """The payload is stored."""
        if self.placed:
            self.conversation.stored(receipt, self)
        else:
            self.told = receipt

    def errback(self, why: NotStored) -> None:
        """It is not."""
        if self.placed:
            self.conversation.unstored(why, self)
        else:
            self.told = why

    def pass_on(self) -> None:
        """What was told before it was ``placed``; afterwards that goes on by itself."""
        if isinstance(self.told, Receipt):
            self.callback(self.told)
        elif self.told is not None:
            self.errback(self.told)
