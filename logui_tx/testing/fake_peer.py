"""The other end of a conversation, in memory."""

from __future__ import annotations

from attrs import define, field
from zope.interface import implementer

from logui_tx.interfaces import IPeer
from logui_tx.model import Close


@implementer(IPeer)
@define
class FakePeer:
    """The other end of a conversation, in memory: what it was sent, how it was closed, whether it is read.

    ``gone`` ends it without a word. What comes after the end is not recorded.
    """

    sent: list[bytes] = field(factory=list)
    closed: Close | None = None
    paused: bool = False
    gone: bool = False

    def send(self, message: bytes) -> None:
        """See :meth:`IPeer.send`."""
        if not self._ended():
            self.sent.append(message)

    def close(self, how: Close) -> None:
        """See :meth:`IPeer.close`; the first close counts."""
        if not self._ended():
            self.closed = how

    def pause(self) -> None:
        """See :meth:`IPeer.pause`."""
        if not self._ended():
            self.paused = True

    def resume(self) -> None:
        """See :meth:`IPeer.resume`."""
        if not self._ended():
            self.paused = False

    def _ended(self) -> bool:
        return self.gone or self.closed is not None
